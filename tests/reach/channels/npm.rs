//! npm's packages: by npm, pnpm and both kinds of yarn, from a registry of our own on this machine.

use super::{Row, Tried, date_of_the_release, file, it_works, shell, size, timed};
use crate::systems::{release, succeed, toolchains};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use support::{Folder, Program, own_network};

const PORT: u16 = 4873;

/// What of the release is for npm: the launcher, and the program for each machine.
fn archives() -> [PathBuf; 3] {
    [
        "reuseaddr-npm",
        "reuseaddr-linux-x64",
        "reuseaddr-linux-arm64",
    ]
    .map(|name| file(name, ".tgz"))
}

/// Serves the packages as npm's registry would, to the network of this thread.
fn registry() {
    let mut answers = BTreeMap::new();
    for archive in archives() {
        let package = succeed(Command::new("tar").args([
            "-xzOf".as_ref(),
            archive.as_os_str(),
            "package/package.json".as_ref(),
        ]));
        let mut package: Value = serde_json::from_str(&package).expect("package.json");
        let word = |package: &Value, key: &str| package[key].as_str().expect("a word").to_owned();
        let (name, version) = (word(&package, "name"), word(&package, "version"));
        let place = format!(
            "/{}",
            archive.file_name().expect("a name").to_string_lossy()
        );
        let sum = succeed(Command::new("sha1sum").arg(&archive));
        package["dist"] = json!({
            "tarball": format!("http://127.0.0.1:{PORT}{place}"),
            "shasum": sum.split(' ').next(),
        });
        let document = json!({
            "name": name,
            "dist-tags": { "latest": version },
            "versions": { version.clone(): package },
            "time": { version: "2026-01-01T00:00:00.000Z" },
        });
        answers.insert(
            format!("/{}", name.replace('/', "%2f")),
            document.to_string().into_bytes(),
        );
        answers.insert(place, fs::read(&archive).expect("ours"));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("our own network");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let answers = answers.clone();
            // Whoever goes away before he has his answer does not want it.
            thread::spawn(move || answer(client, &answers).ok());
        }
    });
}

fn answer(client: TcpStream, answers: &BTreeMap<String, Vec<u8>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let place = request
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .replace("%2F", "%2f");
    let (status, body) = match answers.get(&place) {
        Some(body) => ("200 OK", body.as_slice()),
        None => ("404 Not Found", &b"{}"[..]),
    };
    let mut client = client;
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n",
        body.len()
    )?;
    client.write_all(body)
}

/// What the clients read, and where each keeps its own things.
fn project(name: &str) -> Folder {
    let folder = Folder::for_other_users(name);
    fs::create_dir(folder.join("project")).expect("ours");
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("ours");
    write(
        "project/package.json",
        r#"{ "name": "project", "version": "1.0.0" }"#.into(),
    );
    // Of all projects, for what is installed for all.
    write(
        ".npmrc",
        format!("registry=http://127.0.0.1:{PORT}/\nupdate-notifier=false\n"),
    );
    write(
        "project/.yarnrc",
        format!("registry \"http://127.0.0.1:{PORT}/\"\n"),
    );
    write(
        "project/.yarnrc.yml",
        format!(
            "nodeLinker: node-modules\nnpmRegistryServer: \
             \"http://127.0.0.1:{PORT}\"\nunsafeHttpWhitelist: [127.0.0.1]\n\
             enableGlobalCache: false\nenableTelemetry: false\nnpmMinimalAgeGate: 0\n"
        ),
    );
    folder
}

fn clients() -> PathBuf {
    toolchains().join("npm/node_modules")
}

/// A client's commands in the project.
fn by(folder: &Path, commands: &str) -> Program {
    let modules = clients().display().to_string();
    shell(
        &folder.join("project"),
        &commands
            .replace("PNPM", &format!("node {modules}/pnpm/bin/pnpm.cjs"))
            .replace(
                "BERRY",
                &format!("node {modules}/@yarnpkg/cli-dist/bin/yarn.js"),
            )
            .replace("YARN", &format!("node {modules}/yarn/bin/yarn.js")),
    )
    .with("HOME", folder)
    .with("CI", "1")
}

/// Has a client put it into a project and remove it again.
fn try_out(name: &str, typed: &'static str, install: &str, remove: &str) -> Row {
    let folder = project(name);
    own_network();
    registry();
    let took = timed(|| drop(by(folder.path(), install).run().succeeded()));
    let command = folder.join("project/node_modules/.bin/reuseaddr");
    // That for the other processor is left out.
    let modules = succeed(
        Command::new("find")
            .arg("-L")
            .arg(folder.join("project/node_modules"))
            .args([
                "-path",
                "*/@reuseaddr/linux-*/bin/reuseaddr",
                "-printf",
                "%p\n",
            ]),
    );
    assert!(modules.contains("linux-x64"), "{name}: {modules}");
    assert!(!modules.contains("linux-arm64"), "{name}: {modules}");
    it_works(&Program::new(&command));
    own_network();
    registry();
    by(folder.path(), remove).run().succeeded();
    assert!(!command.exists(), "{name} leaves the command behind");
    Row {
        channel: "npm",
        typed,
        bytes: archives()[..2].iter().map(|archive| size(archive)).sum(),
        took,
    }
}

pub(super) fn npm() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        try_out(
            "npm",
            "npm install reuseaddr",
            "npm install --ignore-scripts reuseaddr",
            "npm uninstall reuseaddr",
        )
    })
}

pub(super) fn pnpm() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        try_out(
            "pnpm",
            "pnpm add reuseaddr",
            "PNPM add reuseaddr",
            "PNPM remove reuseaddr",
        )
    })
}

pub(super) fn yarn() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        try_out(
            "yarn",
            "yarn add reuseaddr",
            "rm .yarnrc.yml; YARN add reuseaddr",
            "YARN remove reuseaddr",
        )
    })
}

pub(super) fn berry() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        try_out(
            "berry",
            "yarn add reuseaddr (4, node-modules)",
            "rm .yarnrc; touch yarn.lock; BERRY add reuseaddr",
            "BERRY remove reuseaddr",
        )
    })
}

#[test]
fn npm_installs_it_and_npx_runs_it() {
    npm();
    // For all projects, where the manual is as well; and without installing.
    let folder = project("npx");
    own_network();
    registry();
    let said = by(
        folder.path(),
        "npm install --global --prefix $HOME/all reuseaddr >&2; test -s \
         $HOME/all/share/man/man1/reuseaddr.1.gz\n\
         $HOME/all/bin/reuseaddr --version; npx --yes reuseaddr 49200",
    )
    .output();
    assert!(
        said.starts_with("reuseaddr ") && said.contains("49200"),
        "{said}"
    );
}

#[test]
fn pnpm_installs_it() {
    pnpm();
}

#[test]
fn classic_yarn_installs_it() {
    yarn();
}

#[test]
fn yarn_with_a_folder_of_modules_installs_it() {
    berry();
}

/// As with `--omit=optional`.
#[test]
fn the_launcher_says_what_is_missing() {
    let folder = project("npm-without");
    own_network();
    registry();
    by(folder.path(), "npm install --omit=optional reuseaddr")
        .run()
        .succeeded();
    let finished = Program::new(folder.join("project/node_modules/.bin/reuseaddr"))
        .argument("49200")
        .run();
    assert_eq!(finished.status.code(), Some(125), "{finished:#?}");
    assert!(
        finished
            .stderr
            .contains("@reuseaddr/linux-x64 is not installed"),
        "{finished:#?}"
    );
}

#[test]
fn the_same_files_give_the_same_packages() {
    let folder = Folder::new("npm again");
    succeed(
        Command::new(support::project().join("packaging/npm/pack"))
            .arg(folder.path())
            .args([release("x86_64").as_os_str(), "x86_64".as_ref()])
            .args([release("aarch64").as_os_str(), "aarch64".as_ref()])
            .env("SOURCE_DATE_EPOCH", date_of_the_release()),
    );
    for archive in archives() {
        let again = folder.join(
            archive
                .file_name()
                .expect("a name")
                .to_str()
                .expect("UTF-8"),
        );
        let is_same = fs::read(&archive).expect("ours") == fs::read(again).expect("ours");
        assert!(is_same, "{}", archive.display());
    }
}
