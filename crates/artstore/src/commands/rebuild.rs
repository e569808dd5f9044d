//! `artstore admin rebuild`: the index of files made anew from the elements.

use crate::assemble::Foundation;
use crate::commands::config::{ModuleName, read};
use crate::commands::serve::{ServeArgs, admin_settings, tls_plan};
use crate::failure::Failure;
use crate::traces::TracePlan;
use artstore_admin::Admin;
use clap::Args;
use std::io::Write as _;

/// `artstore admin rebuild`
#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// One JSON object per element instead of a line for people.
    #[arg(long)]
    json: bool,
}

/// Runs the command. The module itself may run at the same time. The module's certificate is shown to the elements, so it
/// must be good for a client too.
///
/// # Errors
/// A database that cannot be opened, or an element that could not be read to its end.
pub(crate) async fn run(args: &RebuildArgs) -> Result<(), Failure> {
    let values = read(ModuleName::Admin, &args.serve.config, &args.serve.set)?;
    let tls = tls_plan(&values, true, false)?;
    let mut foundation = Foundation::new("admin", tls.as_ref(), &TracePlan::off())?;
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("rebuild: {error}"));
    let admin =
        Admin::open(admin_settings(&values)?, &foundation.registry, foundation.clock).await.map_err(|e| failed(&e))?;
    let elements = admin.rebuild(&foundation.client()).await.map_err(|error| failed(&error))?;
    let mut out = std::io::stdout().lock();
    for element in &elements {
        let line = if args.json {
            serde_json::json!({
                "element_id": element.element_id, "files": element.files, "restored": element.restored,
                "lost": element.lost, "error": element.error,
            })
            .to_string()
        } else {
            let trouble =
                element.error.as_deref().map(|error| format!("; not read to its end: {error}")).unwrap_or_default();
            format!(
                "{}: {} files, {} restored, {} lost{trouble}",
                element.element_id, element.files, element.restored, element.lost
            )
        };
        writeln!(out, "{line}").map_err(Failure::output)?;
    }
    let unread = elements.iter().filter(|element| element.error.is_some()).count();
    if unread > 0 {
        return Err(failed(&format!("{unread} of {} elements could not be read to their end", elements.len())));
    }
    Ok(())
}
