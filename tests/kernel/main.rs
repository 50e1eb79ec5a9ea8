//! What libreuse rests on, asked of the running kernel, and compared with what
//! docs/evidence/kernels.md says of it. Prints one answer a line: the question, ` = `, the answer.
//! `scripts/check/kernels` collects these lines from several kernels.

mod binds;
mod descriptors;
mod destroy;
mod document;
mod options;
mod sockets;
mod time_wait;

use std::cell::RefCell;
use std::fmt::Display;
use std::fs;
use support::own_network;

/// The answers so far, in the order of the questions.
#[derive(Default)]
struct Answers(RefCell<Vec<(String, String)>>);

impl Answers {
    fn say(&self, question: impl Into<String>, answer: impl Display) {
        let (question, answer) = (question.into(), format!("{answer}"));
        println!("{question} = {answer}");
        self.0.borrow_mut().push((question, answer));
    }
}

/// The switches of a network as it is made.
fn defaults(answers: &Answers) {
    // SAFETY: unshare takes flags alone; a network namespace is the calling thread's own
    // (unshare(2)).
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "run this as root, or under `unshare -Ur`");
    for name in [
        "tcp_tw_reuse",
        "tcp_tw_reuse_delay",
        "tcp_rfc1337",
        "tcp_fin_timeout",
        "ip_autobind_reuse",
        "tcp_migrate_req",
        "tcp_tw_timeout",
    ] {
        let value = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
        let value = value.map_or("not there".into(), |value| value.trim().to_owned());
        answers.say(format!("net.ipv4.{name}"), value);
    }
}

#[test]
fn answers_as_the_document_says() {
    let answers = Answers::default();
    // Of a test that is the only one, the line that names it is not ended yet.
    println!();
    defaults(&answers);
    binds::over_what_is_left(&answers);
    binds::over_what_is_live(&answers);
    own_network();
    options::of_tcp(&answers);
    destroy::by_sock_diag(&answers);
    time_wait::by_itself(&answers);
    time_wait::of_a_port_that_was_bound_by_number(&answers);
    descriptors::of_another_process(&answers);
    assert_eq!(document::differences(&answers.0.borrow()), [""; 0]);
}
