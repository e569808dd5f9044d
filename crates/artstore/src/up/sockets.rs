//! The sockets of `artstore up`: bound before anything starts, so that ports are known and a port in use stops the start.

use super::args::UpArgs;
use crate::assemble::{Listeners, address_of, bind};
use crate::failure::Failure;
use artstore_http::ServerSettings;

/// The bound listeners of all modules.
pub(super) struct Sockets {
    pub(super) admin: Listeners,
    pub(super) element_edit: Listeners,
    pub(super) element_rw: Listeners,
    /// A second element for temporary files: there if faults are armed.
    pub(super) element_spare: Option<Listeners>,
    pub(super) ingester: Listeners,
}

impl Sockets {
    /// Binds them all.
    ///
    /// # Errors
    /// An address that is in use, not ours, or not permitted.
    pub(super) async fn bind(args: &UpArgs) -> Result<Self, Failure> {
        let pair = async |main: &str, operations: &str| {
            let (main, operations) = (bind(main).await?, bind(operations).await?);
            Ok::<_, Failure>(Listeners { main, operations, settings: ServerSettings::default(), before: None })
        };
        let element_spare = match args.fault {
            Some(_) => Some(pair(&args.element_spare, &args.element_spare_ops).await?),
            None => None,
        };
        Ok(Self {
            admin: pair(&args.admin, &args.admin_ops).await?,
            element_edit: pair(&args.element_edit, &args.element_edit_ops).await?,
            element_rw: pair(&args.element_rw, &args.element_rw_ops).await?,
            element_spare,
            ingester: pair(&args.ingester, &args.ops).await?,
        })
    }

    /// Where they answer.
    ///
    /// # Errors
    /// If the operating system does not say.
    pub(super) fn urls(&self) -> Result<Urls, Failure> {
        let pair = |listeners: &Listeners| {
            let (main, operations) = (address_of(&listeners.main)?, address_of(&listeners.operations)?);
            Ok::<_, Failure>((format!("https://{main}"), format!("http://{operations}")))
        };
        let (admin, admin_ops) = pair(&self.admin)?;
        let (element_edit, element_edit_ops) = pair(&self.element_edit)?;
        let (element_rw, element_rw_ops) = pair(&self.element_rw)?;
        let element_spare = self.element_spare.as_ref().map(pair).transpose()?;
        let (ingester, ops) = pair(&self.ingester)?;
        Ok(Urls {
            admin,
            admin_ops,
            element_edit,
            element_edit_ops,
            element_rw,
            element_rw_ops,
            element_spare,
            ingester,
            ops,
        })
    }
}

/// Where everything answers.
pub(super) struct Urls {
    pub(super) admin: String,
    pub(super) admin_ops: String,
    pub(super) element_edit: String,
    pub(super) element_edit_ops: String,
    pub(super) element_rw: String,
    pub(super) element_rw_ops: String,
    /// The element that is there if faults are armed, and its operations listener.
    pub(super) element_spare: Option<(String, String)>,
    pub(super) ingester: String,
    pub(super) ops: String,
}
