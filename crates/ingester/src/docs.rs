//! x
pub(crate) async fn serve() -> &'static str {
    ""
}
