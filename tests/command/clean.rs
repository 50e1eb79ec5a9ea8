//! `reuseaddr clean` removes the files that other commands have written, unless they are in use or
//! somebody else's.

use crate::{assert_says, code, nobody};
use std::fs;
use std::path::Path;
use support::{Folder, Program};

/// An unprivileged user with a home folder, and the command in it.
pub(crate) struct User(Folder);

impl User {
    pub(crate) fn new(name: &str) -> Self {
        let folder = Folder::for_other_users(name);
        folder.copy(support::reuseaddr(), "reuseaddr");
        let own = Program::new("/bin/chown")
            .argument("65534:65534")
            .argument(folder.path());
        own.run().succeeded();
        Self(folder)
    }

    pub(crate) fn home(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn runs(&self, words: &[&str]) -> Program {
        nobody()
            .argument(self.0.join("reuseaddr"))
            .arguments(words)
            .with("HOME", self.0.path())
            .with("XDG_CONFIG_HOME", self.0.join("config"))
            .with("TMPDIR", self.0.path())
    }

    fn store(&self) -> std::path::PathBuf {
        self.0.join(".cache/libreuse")
    }

    fn drop_in(&self, unit: &str) -> std::path::PathBuf {
        self.0
            .join("config/systemd/user")
            .join(format!("{unit}.service.d/50-libreuse.conf"))
    }
}

#[test]
fn takes_away_what_other_commands_have_left() {
    let user = User::new("clean");
    assert_says(
        &user.runs(&["clean"]).output(),
        "There is nothing to remove.",
    );
    user.runs(&["run", "true"]).run().succeeded();
    user.runs(&["systemd", "--user", "--install", "mine"])
        .run()
        .succeeded();
    let lasting = user.0.join(".local/lib/libreuse");
    for place in [user.store(), user.drop_in("mine"), lasting.clone()] {
        assert!(place.exists(), "the control: {}", place.display());
    }

    let would = user.runs(&["clean", "--dry-run"]).output();
    for place in [user.store(), user.drop_in("mine"), lasting.clone()] {
        assert_says(&would, &format!("would be removed: {}", place.display()));
        assert!(place.exists(), "{}", place.display());
    }

    let finished = user.runs(&["clean"]).run().succeeded();
    assert_says(&finished.stderr, "systemctl --user daemon-reload");
    for place in [user.store(), user.drop_in("mine"), lasting] {
        assert!(!place.exists(), "{}", place.display());
    }
    assert_says(
        &user.runs(&["clean"]).output(),
        "There is nothing to remove.",
    );
}

#[test]
fn leaves_what_is_in_use_and_says_by_whom() {
    let user = User::new("clean-in-use");
    let mut running = user
        .runs(&[
            "run",
            "--engine",
            "preload",
            "sh",
            "-c",
            "echo started; exec sleep 1000",
        ])
        .start();
    running.expect("started");
    let finished = user.runs(&["clean"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(
        &finished.stdout,
        &format!("(pid {}) uses it", running.pid()),
    );
    assert!(user.store().exists());
    running.kill();
    user.runs(&["clean"]).run().succeeded();
    assert!(!user.store().exists());
}

#[test]
fn leaves_what_somebody_else_has_put_there() {
    let user = User::new("clean-others");
    user.runs(&["run", "true"]).run().succeeded();
    fs::write(user.store().join("notes"), "").expect("ours");
    let theirs = user.drop_in("theirs");
    fs::create_dir_all(theirs.parent().expect("a folder")).expect("ours");
    fs::write(&theirs, "[Service]\nEnvironment=A=B\n").expect("ours");
    user.runs(&["clean"]).run().succeeded();
    assert!(theirs.exists());
    let names = |folder: &Path| {
        fs::read_dir(folder)
            .expect("it stays")
            .flatten()
            .map(|entry| entry.file_name())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&user.store()), ["notes"]);
}
