//! The arguments of wrappers, parsed.

use super::*;

fn words(line: &str) -> Vec<OsString> {
    let words = shell_words::split(line).expect("a line");
    words.into_iter().map(OsString::from).collect()
}

#[test]
fn finds_the_program_that_is_started() {
    // The line, what is started, and whether that is without the library.
    for (line, started, drops) in [
        ("env server", "server", false),
        ("env A=b server C=d", "server C=d", false),
        ("env -i server", "server", true),
        ("env - server", "server", true),
        ("env - A=b server", "server", true),
        ("env A=b - server", "- server", false),
        ("env -u HOME -i server", "server", true),
        ("env -u LD_PRELOAD server", "server", true),
        ("env -uLD_PRELOAD server", "server", true),
        ("env -vuLD_PRELOAD server", "server", true),
        ("env -u=LD_PRELOAD server", "server", false),
        ("env --unset=LD_PRELOAD server", "server", true),
        ("env --unset LD_PRELOAD server", "server", true),
        ("env --un LD_PRELOAD server", "server", true),
        ("env LD_PRELOAD= server", "server", true),
        ("env -C /tmp -- server -i", "server -i", false),
        ("env -C/tmp server", "server", false),
        ("env -iC /tmp server", "server", true),
        ("env -iC/tmp server", "server", true),
        ("env -iv server", "server", true),
        ("env -i0 server", "server", true),
        ("env -ia name server", "server", true),
        ("env -Ci server", "server", false),
        ("env -ui server", "server", false),
        ("env --ignore-environment server", "server", true),
        ("env --ignore-env server", "server", true),
        ("env --ignore-signal=HUP server", "server", false),
        ("env --ignore-signal server", "server", false),
        ("env --ignore-s server", "server", false),
        ("env --chdir=/tmp server", "server", false),
        ("env --chdir /tmp server", "server", false),
        ("env --default-signal=PIPE server", "server", false),
        ("env -S server", "server", false),
        ("env -S 'A=b server -x' y", "server -x y", false),
        ("env '-SA=b server'", "server", false),
        ("env -S '-i server'", "server", true),
        ("env -iS 'A=b server'", "server", true),
        ("env -vS 'server' -i", "server -i", false),
        ("env --split-string='-u LD_PRELOAD server'", "server", true),
        ("env --split 'A=b' LD_PRELOAD= server", "server", true),
        ("env -S \"A='b c' server\"", "server", false),
        ("env -S '-S \"-i server\"'", "server", true),
        ("env -S 'server ${NOBODY_SETS_THIS}x'", "server x", false),
        ("env -S \"server 'x\"", "", false),
        ("env -S 'server ${x'", "", false),
        ("env", "", false),
        ("env -u", "", false),
        ("env -C /tmp", "", false),
        ("nice -n 5 server -n 6", "server -n 6", false),
        ("nice -n5 server", "server", false),
        ("nice -5 server", "server", false),
        ("nice -15 server", "server", false),
        ("nice --adjust 5 server", "server", false),
        ("nohup server -i", "server -i", false),
        ("timeout -s kill 10 server", "server", false),
        ("timeout -vk5 10 server", "server", false),
        ("timeout --signal=kill 10 server -k 5", "server -k 5", false),
        ("timeout --kill 5 10 server", "server", false),
        ("timeout --foreground 10 server", "server", false),
        ("timeout -k 5 10", "", false),
        ("taskset -c 0,1 server", "server", false),
        ("taskset -ac 0,1 server", "server", false),
        ("chrt -f 10 server", "server", false),
        ("chrt -bT 5 0 server", "server", false),
        ("stdbuf -o L server", "server", false),
        ("stdbuf -oL -eL server", "server", false),
        ("ionice -c2 -n 0 server", "server", false),
        ("ionice -tc 3 server", "server", false),
        ("time -vo /dev/null server", "server", false),
        ("prlimit -n100:200 server", "server", false),
        ("prlimit --nofile=100 server", "server", false),
        ("setpriv --reuid git server", "server", false),
        ("setpriv --reset-env server", "server", true),
        ("setpriv --reset server", "server", true),
        ("setsid --wait server", "server", false),
        ("setsid -fw server", "server", false),
        ("sh -c server", "server", false),
        ("sh -ec 'exec server -x'", "server -x", false),
        ("bash -o errexit -c 'A=b server' x", "server", false),
        ("sh -c 'LD_PRELOAD= server'", "server", true),
        ("sh -c 'true; server'", "", false),
        ("sh -c 'server $0' 80", "", false),
        ("sh server.sh -c x", "", false),
        ("bash --login", "", false),
        ("flock /l server -n", "server -n", false),
        ("flock -w 5 -E 3 /l server", "server", false),
        ("flock --timeout 5 /l -c 'server x'", "server x", false),
        ("setarch -R server", "server", false),
        ("setarch x86_64 -R server", "server", false),
        ("linux32 server", "server", false),
        ("xargs -n 1 -0 server -a", "server -a", false),
        ("xargs -I{} server {}", "server {}", false),
        ("unshare -m -r server", "server", false),
        ("unshare --map-user 7 --fork server", "server", false),
        ("nsenter -t 7 -n -- server", "server", false),
        ("runuser -u git -- server -l", "server -l", false),
        ("runuser git -c 'server x'", "server x", false),
        ("runuser -l git -c server", "server", true),
        ("runuser - git", "", true),
        ("su git -c 'exec server'", "server", false),
        ("su - git", "", true),
        ("script -qc 'server x' /dev/null", "server x", false),
        ("script log", "", false),
        (
            "start-stop-daemon --start --exec /bin/server -- -x",
            "/bin/server -x",
            false,
        ),
        (
            "start-stop-daemon -S -b -x /bin/a -a /bin/server",
            "/bin/server",
            false,
        ),
        ("tini -g -e 143 -- server", "server", false),
        ("tini -sv server", "server", false),
        ("dumb-init -r 15:2 server", "server", false),
        ("dumb-init --single-child -- server", "server", false),
        ("s6-setuidgid git server", "server", false),
        ("gosu git:git server", "server", false),
        ("softlimit -m 100000 server", "server", false),
        ("setlock -n /l server", "server", false),
        ("chpst -u git -e /e server", "server", false),
        ("numactl --cpunodebind=0 -m 0 server", "server", false),
        ("mptcpize run -d server", "server", true),
        (
            "bwrap --ro-bind / / --dev /dev --setenv A b server",
            "server",
            false,
        ),
        ("bwrap --clearenv --bind / / server", "server", true),
        ("busybox nice server", "server", false),
        ("busybox sh -c server", "server", false),
        ("firejail --quiet server", "", false),
        ("systemd-cat -t x server", "server", false),
    ] {
        let line_words = words(line);
        let start = start(line_words[0].to_str().unwrap(), &line_words[1..]).expect("a wrapper");
        assert_eq!(start.program, words(started), "{line}");
        assert_eq!(start.drops_library, drops, "{line}");
    }
    assert_eq!(start("server", &["env"]), None);
}

#[test]
fn finds_who_it_is_started_as() {
    for line in ["--reuid=7 --nnp --regid 8 x", "--reu 7 --no-new --regi=8 x"] {
        let start = start("setpriv", &words(line)).expect("a wrapper");
        assert_eq!(start.user.as_deref(), Some(OsStr::new("7")), "{line}");
        assert_eq!(start.group.as_deref(), Some(OsStr::new("8")), "{line}");
        assert!(start.no_new_privileges, "{line}");
        assert_eq!(start.program, ["x"], "{line}");
    }
}

#[test]
fn finds_which_files_it_has() {
    let root = |line: &str| {
        let line = words(line);
        let start = start(line[0].to_str().unwrap(), &line[1..]).expect("a wrapper");
        (start.root, start.other_files)
    };
    assert_eq!(
        root("chroot --userspec=7 /srv server"),
        (Some("/srv".into()), false)
    );
    assert_eq!(root("unshare -R /srv server"), (Some("/srv".into()), true));
    assert_eq!(root("bwrap --bind / / server"), (None, true));
    assert_eq!(root("nice server"), (None, false));
}
