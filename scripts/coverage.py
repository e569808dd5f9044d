"""The coverage gates: reads llvm-cov's lcov file, prints each gate and the lines that no test runs, fails below a gate."""

import pathlib
import sys

GATES = [
    ("every metrics.rs", 100.0, lambda path: path.parts[2:3] == ("src",) and path.parts[3] in ("metrics.rs", "metrics")),
    ("crate metrics", 100.0, lambda path: path.parts[:2] == ("crates", "metrics")),
    ("crate auth", 90.0, lambda path: path.parts[:2] == ("crates", "auth")),
    ("crate tls", 85.0, lambda path: path.parts[:2] == ("crates", "tls")),
]
LISTED = 40


def read(lcov: pathlib.Path) -> dict[pathlib.Path, dict[int, int]]:
    """Line counts by file, relative to the workspace."""
    root, files, lines = pathlib.Path.cwd(), {}, {}
    for row in lcov.read_text().splitlines():
        if row.startswith("SF:"):
            path = pathlib.Path(row[3:])
            lines = files.setdefault(path.relative_to(root) if path.is_relative_to(root) else path, {})
        elif row.startswith("DA:"):
            number, count = row[3:].split(",")[:2]
            lines[int(number)] = max(lines.get(int(number), 0), int(count))
    return files


def share(files: list[dict[int, int]]) -> tuple[int, int]:
    """Lines run by a test, and all lines."""
    counts = [count for lines in files for count in lines.values()]
    return sum(count > 0 for count in counts), len(counts)


def main() -> int:
    files = read(pathlib.Path(sys.argv[1]))
    sources = {path: lines for path, lines in files.items() if path.parts[:1] == ("crates",)}
    for crate in sorted({path.parts[1] for path in sources}):
        covered, total = share([lines for path, lines in sources.items() if path.parts[1] == crate])
        print(f"{100 * covered / total:7.2f} %  {covered:6} of {total:6} lines  {crate}")
    failed = False
    for name, least, chosen in GATES:
        parts = {path: lines for path, lines in sources.items() if chosen(path)}
        covered, total = share(list(parts.values()))
        percent = 100 * covered / total if total else 0.0
        below = percent < least
        failed |= below
        print(f"{'FAILED' if below else 'ok':>6}: {name}: {percent:.2f} % of {total} lines in {len(parts)} files, gate {least} %")
        missed = [f"{path}:{line}" for path, lines in sorted(parts.items()) for line, count in sorted(lines.items()) if not count]
        if below:
            print("".join(f"         no test runs {place}\n" for place in missed[:LISTED]), end="")
            print(f"         and {len(missed) - LISTED} more\n" if len(missed) > LISTED else "", end="")
    return int(failed)


sys.exit(main())
