//! The tables of docs/evidence/kernels.md.

use std::fs;
use support::project;

/// A kernel's series, `6.12`, as two numbers.
fn series(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What the tables say that a question is answered on a kernel. What lies between two columns, or
/// after the last, goes with the one before.
fn said(document: &str, question: &str, kernel: (u32, u32)) -> Option<String> {
    let mut heads: Vec<&str> = Vec::new();
    for line in document.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if cells[0] == "probe" {
            heads = cells;
        } else if cells[0] == question && heads.len() == cells.len() {
            let mut columns = heads.iter().zip(cells).skip(1);
            let known = columns.rfind(|(head, _)| {
                **head == "every kernel" || series(head).is_some_and(|head| head <= kernel)
            });
            return known.map(|(_, answer)| answer.to_owned());
        }
    }
    None
}

/// Whether an answer depends on how the kernel was built or set up, and not on its version.
fn is_of_the_machine(question: &str, answer: &str) -> bool {
    question.contains("yama")
        || question.starts_with("pidfd_getfd of a sibling")
        || (question.contains("SOCK_DESTROY") && ["ENOTSUP", "EADDRINUSE"].contains(&answer))
        || (question.contains("MPTCP") && answer == "EPROTONOSUPPORT")
}

pub(crate) fn differences(answers: &[(String, String)]) -> Vec<String> {
    let document = fs::read_to_string(project().join("docs/evidence/kernels.md"));
    let document = document.expect("the document");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let kernel = series(&release).expect("two numbers");
    let mut found = Vec::new();
    for (question, answer) in answers {
        let expected = said(&document, question, kernel);
        if expected.as_deref() == Some(answer) {
            continue;
        }
        let expected = expected.unwrap_or("nothing".into());
        let difference = format!("{question}: {answer}; the document says {expected}");
        if is_of_the_machine(question, answer) {
            println!("skipped: {difference}");
        } else {
            found.push(difference);
        }
    }
    found
}
