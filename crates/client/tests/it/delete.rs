//! Deletions over real sockets.

use crate::support::{Server, Step, Tokens, limits, problem, reply, session};
use artstore_api::{Code, FileId};

#[tokio::test]
async fn a_deletion_is_asked_for_once_more_with_a_new_token() {
    let refused = Step::Answer(problem(Code::Unauthorized, "expired"));
    let server = Server::start([refused, Step::Answer(reply(204, []))]).await;
    let id = FileId::generate();
    session(&server.url, Tokens::default(), limits()).delete(id).await.unwrap();
    let seen = server.seen();
    let requests: Vec<_> = seen.iter().map(|seen| (seen.line.as_str(), seen.header("authorization"))).collect();
    let line = format!("DELETE /api/v1/files/{id} HTTP/1.1");
    assert_eq!(requests, [(&*line, Some("Bearer token-0")), (&*line, Some("Bearer token-1"))]);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_no_success() {
    let absent = Step::Answer(problem(Code::NotFound, "no such file"));
    // Nor is an answer that is none of a deletion.
    let server = Server::start([absent, Step::Answer(reply(200, []))]).await;
    let session = session(&server.url, Tokens::default(), limits());
    assert_eq!(session.delete(FileId::generate()).await.unwrap_err().code(), Some(Code::NotFound));
    assert_eq!(session.delete(FileId::generate()).await.unwrap_err().code(), None);
}
