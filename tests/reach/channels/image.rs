//! The image: its entry point is the command, others copy the library out of it, and it holds both
//! processors'.

use super::{Row, Tried, date_of_the_release, file, size, timed};
use crate::restart::LEGACY;
use crate::systems::{Layer, System, release, succeed};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use support::{Folder, Program, own_network, port_after_crash};

fn archive() -> PathBuf {
    file("reuseaddr-", "-image.tar")
}

/// Podman and buildah with a storage of their own.
struct Storage(Folder);

impl Storage {
    fn new(name: &str) -> Self {
        // Podman takes no path of more than 50 characters.
        Self(Folder::for_other_users(name))
    }

    fn tool(&self, name: &str) -> Program {
        let folder = self.0.path().display();
        Program::new(format!("/usr/bin/{name}"))
            .arguments(["--storage-driver", "vfs", "--root"])
            .argument(format!("{folder}/store"))
            .argument("--runroot")
            .argument(format!("{folder}/run"))
            .with("HOME", self.0.path())
    }

    fn podman(&self, words: &[&str]) -> Program {
        self.tool("podman")
            .arguments(["--runtime", "runc", "--cgroup-manager", "cgroupfs"])
            .arguments(words)
    }

    /// Podman's words to run a container, which sets no limit that this machine may not allow.
    fn run(&self, words: &[&str]) -> Program {
        let limits = [
            "run",
            "--rm",
            "--network",
            "none",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
        ];
        self.podman(&limits).arguments(words)
    }

    fn pull(&self, more: &[&str]) -> String {
        let source = format!("oci-archive:{}", archive().display());
        self.podman(&["pull", "--quiet"])
            .arguments(more)
            .argument(source)
            .output()
            .trim()
            .to_owned()
    }
}

pub(super) fn image() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        let storage = Storage::new("image");
        own_network();
        let took = timed(|| drop(storage.pull(&[])));
        let name = concat!("localhost/reuseaddr:", env!("CARGO_PKG_VERSION"));

        // With the command's name in front, and without.
        for words in [&["--version"][..], &["reuseaddr", "--version"]] {
            let version = storage.run(&[name]).arguments(words).output();
            assert_eq!(
                version,
                concat!("reuseaddr ", env!("CARGO_PKG_VERSION"), "\n")
            );
        }

        // As an init container does it.
        let volume = Folder::new("volume");
        storage
            .run(&[
                "--volume",
                &format!("{}:/libreuse", volume.path().display()),
                name,
                "install",
                "/libreuse",
            ])
            .run()
            .succeeded();
        let library = fs::read(volume.join("libreuse.so")).expect("it is installed");
        assert!(
            library == fs::read(release("x86_64").join("lib/libreuse.so")).expect("the library")
        );

        copied_into_another(&storage, name);
        Row {
            channel: "a registry of images",
            typed: "COPY --from=reuseaddr /lib/libreuse.so /usr/lib/",
            bytes: size(&archive()),
            took,
        }
    })
}

/// The image of somebody else's server, built with a `COPY --from`: its file system, and the
/// variable that it sets.
fn copied_into_another(storage: &Storage, name: &str) {
    let context = Folder::new("context");
    let old = Layer::new("image-base", ":");
    let root = context.join("root/lib/x86_64-linux-gnu");
    fs::create_dir_all(&root).expect("ours");
    fs::create_dir_all(context.join("root/lib64")).expect("ours");
    for (from, to) in [
        (
            "lib/x86_64-linux-gnu/ld-2.31.so",
            "root/lib64/ld-linux-x86-64.so.2",
        ),
        (
            "lib/x86_64-linux-gnu/libc.so.6",
            "root/lib/x86_64-linux-gnu/libc.so.6",
        ),
        (
            "lib/x86_64-linux-gnu/libpthread.so.0",
            "root/lib/x86_64-linux-gnu/libpthread.so.0",
        ),
        (
            "lib/x86_64-linux-gnu/libdl.so.2",
            "root/lib/x86_64-linux-gnu/libdl.so.2",
        ),
    ] {
        context.copy(old.below().join(from), to);
    }
    context.copy(System::Old.compile("legacy", LEGACY, &[]), "root/server");
    for (tag, copy) in [
        ("without", String::new()),
        (
            "with",
            format!("COPY --from={name} /lib/libreuse.so /lib/x86_64-linux-gnu/\n"),
        ),
    ] {
        fs::write(
            context.join("Containerfile"),
            format!("FROM scratch\nCOPY root /\n{copy}"),
        )
        .expect("ours");
        storage
            .tool("buildah")
            .arguments([
                "build",
                "--quiet",
                "--isolation",
                "chroot",
                "--pull-never",
                "--tag",
                tag,
            ])
            .argument(context.path())
            .run()
            .succeeded();
        let container = storage
            .tool("buildah")
            .arguments(["from", &format!("localhost/{tag}")])
            .output();
        let place = storage
            .tool("buildah")
            .arguments(["mount", container.trim()])
            .output();
        let server = Program::new("/usr/sbin/chroot")
            .arguments([place.trim(), "/server"])
            .with("LD_PRELOAD", if tag == "with" { "libreuse.so" } else { "" });
        let expected = if tag == "with" {
            "port 49200"
        } else {
            "port 49201"
        };
        assert_eq!(port_after_crash(&server), expected, "{tag}");
    }
}

#[test]
fn the_image_runs_the_command_and_is_copied_from() {
    image();
}

#[test]
fn the_image_is_for_both_processors() {
    let storage = Storage::new("image-arm64");
    own_network();
    let id = storage.pull(&["--arch", "arm64"]);
    let container = storage
        .tool("buildah")
        .arguments(["from", "--pull-never", &id])
        .output();
    let place = storage
        .tool("buildah")
        .arguments(["mount", container.trim()])
        .output();
    for (ours, its) in [
        ("bin/reuseaddr", "bin/reuseaddr"),
        ("lib/libreuse.so", "lib/libreuse.so"),
        ("lib/libreuse.so", "aarch64/libreuse.so"),
    ] {
        let ours = fs::read(release("aarch64").join(ours)).expect("the release");
        assert!(
            fs::read(PathBuf::from(place.trim()).join(its)).expect("the image") == ours,
            "{its}"
        );
    }
}

#[test]
fn the_same_files_give_the_same_image() {
    let folder = Folder::new("image again");
    let again = folder.join("image.tar");
    let mut command = Command::new(support::project().join("packaging/image"));
    command
        .arg(&again)
        .env("SOURCE_DATE_EPOCH", date_of_the_release());
    for machine in ["x86_64", "i686", "aarch64", "armv7", "s390x"] {
        if release(machine).exists() {
            command.arg(release(machine)).arg(machine);
        }
    }
    succeed(&mut command);
    assert!(fs::read(archive()).expect("the image") == fs::read(again).expect("the image"));
}
