# Sourced by scripts/test: installs what is missing and puts it on PATH. Everything from Python's registry goes into .venv,
# from npm's into .node; promtool, amtool and victoria-metrics come from Debian; no service is started.

venv=$root/.venv
python=$venv/bin/python
requirements=$root/scripts/requirements.txt
node_packages=$root/scripts/npm/package.json
node_folder=$root/.node

install_tools() {
  install_debian_packages
  install_venv
  install_node_packages
  command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest
  use_coverage_tools
  check_tools
}

# The Debian packages whose commands are missing.
missing_packages() {
  command -v cc >/dev/null || echo build-essential
  command -v curl >/dev/null || echo curl ca-certificates
  command -v openssl >/dev/null || echo openssl
  command -v promtool >/dev/null || echo prometheus
  command -v amtool >/dev/null || echo prometheus-alertmanager
  command -v victoria-metrics >/dev/null || echo victoria-metrics
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
  command -v chromium >/dev/null || echo chromium
  command -v valgrind >/dev/null || echo valgrind
  command -v testssl >/dev/null || echo testssl.sh
  command -v systemd-analyze >/dev/null || echo systemd
  command -v bwrap >/dev/null || echo bubblewrap
  [[ -x $python ]] || python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

install_debian_packages() {
  local packages sudo=""
  read -r -d '' -a packages < <(missing_packages) || true
  ((${#packages[@]})) || return 0
  [[ $(id -u) == 0 ]] || sudo=sudo
  echo "installing from Debian: ${packages[*]}"
  # Debian's prometheus, prometheus-alertmanager and victoria-metrics would start servers: a policy that is not ours stays, otherwise one denies it
  # for the moment.
  local policy=/usr/sbin/policy-rc.d ours=""
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    ours=1
  fi
  local outcome=0
  {
    $sudo apt-get update -qq &&
      $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
  } >"$logs/apt.log" 2>&1 || outcome=$?
  [[ -z $ours ]] || $sudo rm -f "$policy"
  ((outcome == 0)) || { tail -30 "$logs/apt.log"; return "$outcome"; }
}

install_venv() {
  # The stamp holds the list that was installed, so a changed list installs again.
  cmp -s "$requirements" "$venv/installed.txt" && return 0
  echo "installing into .venv: $(grep -v '^#' "$requirements" | tr '\n' ' ')"
  [[ -x $python ]] || python3 -m venv "$venv"
  "$python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
  cp "$requirements" "$venv/installed.txt"
}

# Node.js itself, too: Debian's is older than what the packages are made for. It only runs npm.
# No lock file: it would hold the address of whichever mirror it was made with. The packages are pinned by name and version.
install_node_packages() {
  cmp -s "$node_packages" "$node_folder/installed.json" && return 0
  echo "installing into .node: $(sed -n '/"dependencies"/,/}/s/^ *"\([^"]*\)": "\([0-9][^"]*\)".*/\1@\2/p' "$node_packages" | tr '\n' ' ')"
  mkdir -p "$node_folder"
  cp "$node_packages" "$node_folder/package.json"
  npm install --prefix "$node_folder" --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error >"$logs/npm.log" 2>&1 ||
    { tail -30 "$logs/npm.log"; return 1; }
  cp "$node_packages" "$node_folder/installed.json"
}

# The coverage tools must understand what this compiler's LLVM writes; where rustup's llvm-tools are not to be had, the
# registry's are the same version.
use_coverage_tools() {
  local bin=("$venv"/lib/python3*/site-packages/llvm/bin)
  export LLVM_COV=${bin[0]}/llvm-cov LLVM_PROFDATA=${bin[0]}/llvm-profdata
  chmod +x "$LLVM_COV" "$LLVM_PROFDATA"
}

check_tools() {
  cargo nextest --version | head -1
  cargo llvm-cov --version
  "$LLVM_COV" --version | sed -n 2p
  cargo-deny --version
  promtool --version 2>&1 | head -1
  amtool --version 2>&1 | head -1
  echo "victoria-metrics $(dpkg-query -W -f '${Version}' victoria-metrics 2>/dev/null || echo 'not from Debian')"
  chromium --version
  echo "node $("$node_folder/node_modules/.bin/node" --version)"
  weed version | head -1
  valgrind --version
  systemd-analyze --version | head -1
  bwrap --version
  echo "testssl.sh $(dpkg-query -W -f '${Version}' testssl.sh 2>/dev/null || echo 'not from Debian')"
}

# The tools of .venv come last on PATH: they hide nothing that the machine has.
export PATH=$PATH:$venv/bin
export ARTSTORE_PYTHON=$python
