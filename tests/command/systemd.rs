//! `systemd`: drop-ins as systemd reads them, in a machine that it has booted.

use crate::{assert_says, code, command_for_others, nobody, reuseaddr};
use std::fs;
use support::{Folder, Program, compile_c, program, project, shim};

fn systemd() -> Program {
    reuseaddr(["systemd", "--library"]).argument(shim())
}

#[test]
fn prints_a_drop_in() {
    let finished = systemd()
        .arguments([
            "--linger",
            "graceful",
            "--log-file",
            "/var/log/%p \"x\".log",
            "myd",
        ])
        .run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines[1], "[Service]");
    assert_eq!(
        lines[2],
        format!("Environment=\"LD_PRELOAD={}\"", shim().display())
    );
    assert_eq!(lines[3], "Environment=\"LIBREUSE_LINGER=graceful\"");
    assert_eq!(
        lines[4],
        r#"Environment="LIBREUSE_LOG_FILE=/var/log/%%p \"x\".log""#
    );
    assert_says(
        &finished.stderr,
        "This would be /etc/systemd/system/myd.service.d/50-libreuse.conf",
    );
    assert_says(
        &finished.stderr,
        &format!(
            "sudo reuseaddr systemd --install --library {} --linger graceful --log-file \
             '/var/log/%p \"x\".log' myd.service",
            shim().display()
        ),
    );
}

#[test]
fn installs_and_removes_a_unit_of_the_user() {
    let folder = Folder::new("systemd-user");
    let user = |arguments: &[&str]| {
        systemd()
            .with("XDG_CONFIG_HOME", folder.path())
            .argument("--user")
            .arguments(arguments)
            .run()
    };
    for (name, file) in [
        ("myd", "myd.service"),
        ("worker@.service", "worker@.service"),
        ("worker@one", "worker@one.service"),
        (r"dev\x2dmyd", r"dev\x2dmyd.service"),
    ] {
        let path = folder
            .join("systemd/user")
            .join(format!("{file}.d/50-libreuse.conf"));
        let installed = user(&["--install", "--wait", "60s", name]);
        assert_eq!(code(&installed), 0, "{installed:#?}");
        assert_says(&installed.stderr, "systemctl --user daemon-reload");
        let text = fs::read_to_string(&path).expect("it is written");
        assert!(text.contains("Environment=\"LIBREUSE_WAIT=60s\""), "{text}");
        // Again, with something else.
        assert_eq!(code(&user(&["--install", name])), 0);
        assert!(
            !fs::read_to_string(&path)
                .expect("it is written")
                .contains("WAIT")
        );
        let removed = user(&["--remove", name]);
        assert_eq!(code(&removed), 0, "{removed:#?}");
        assert!(!path.parent().expect("a folder").exists());
        let again = user(&["--remove", name]);
        assert_eq!(code(&again), 2);
        assert_says(&again.stderr, "there is no");
    }
    // What others wrote stays, and so do their drop-ins.
    let others = folder.join("systemd/user/myd.service.d");
    fs::create_dir_all(&others).expect("the folder is ours");
    fs::write(others.join("50-libreuse.conf"), "[Service]\n").expect("the folder is ours");
    for action in ["--install", "--remove"] {
        let finished = user(&[action, "myd"]);
        assert_eq!(code(&finished), 2, "{finished:#?}");
        assert_says(&finished.stderr, "was not written by this command");
    }
    assert_eq!(
        fs::read_to_string(others.join("50-libreuse.conf")).expect("it stays"),
        "[Service]\n"
    );
}

#[test]
fn refuses_what_is_no_service() {
    for (name, why) in [
        ("../../etc/passwd", "can't be the name of a unit"),
        ("a b", "can't be the name of a unit"),
        ("", "can't be the name of a unit"),
        ("myd.socket", "is a socket unit"),
        ("myd.timer", "is a timer unit"),
    ] {
        let finished = systemd().argument(name).run();
        assert_eq!(
            (code(&finished), finished.stdout.as_str()),
            (2, ""),
            "{finished:#?}"
        );
        assert_says(&finished.stderr, why);
    }
    let finished = systemd()
        .arguments(["--linger", "maybe", "--wait", "1", "myd"])
        .run();
    assert_says(&finished.stderr, "--linger=maybe: expected");
    assert_says(&finished.stderr, "--wait=1: no unit");
}

/// Boots systemd over the root file system, which stays as it is, and runs the text there.
pub(crate) fn boot(folder: &Folder, script: &str) -> String {
    boot_with(folder, script, "")
}

/// The same, with more options for systemd-nspawn.
pub(crate) fn boot_with(folder: &Folder, script: &str, options: &str) -> String {
    let outer = "
set -eu
base=$1
mount --make-rprivate /
case $7 in *bpf*) mount -t bpf bpf /sys/fs/bpf ;; esac
mount -t tmpfs tmpfs \"$base\"
mkdir \"$base/upper\" \"$base/work\" \"$base/root\"
mount -t overlay overlay -o lowerdir=/,upperdir=\"$base/upper\",workdir=\"$base/work\" \"$base/root\"
units=\"$base/root/etc/systemd/system\"
mkdir -p \"$units\" \"$base/root/opt/test\"
cp \"$2\" \"$base/root/opt/test/reuseaddr\"; cp \"$3\" \"$base/root/opt/test/libreuse.so\"
cp \"$4\" \"$base/root/opt/test/script\"; cp \"$5\" \"$base/root/opt/test/server.py\"
cp \"$6\" \"$base/root/opt/test/static-server\"
printf '[Unit]\\nDefaultDependencies=no\\nRequires=basic.target dbus.service\\nAfter=basic.target dbus.service\\n[Service]\\nType=oneshot\\nStandardOutput=append:/opt/test/output\\nStandardError=inherit\\nTimeoutStartSec=200\\nExecStart=/bin/sh /opt/test/script\\nExecStopPost=/bin/systemctl --force --force poweroff\\n' > \"$units/test-run.service\"
printf '[Unit]\\nRequires=test-run.service\\nAfter=test-run.service\\nAllowIsolate=yes\\n' > \"$units/test-run.target\"
# Two machines in one control group would be two managers of the same services.
trees=$(ls -d /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup 2>/dev/null | while read tree; do
  [ ! -e \"$tree/cgroup.procs\" ] || echo $tree; done)
for tree in $trees; do mkdir $tree/libreuse-boot-$$; echo $$ >$tree/libreuse-boot-$$/cgroup.procs; done
timeout 220 systemd-nspawn --quiet --register=no --keep-unit --private-network --link-journal=no --console=pipe \
  $7 --directory \"$base/root\" --boot systemd.unit=test-run.target </dev/null >\"$base/console\" 2>&1 || true
for tree in $trees; do
  echo $$ >$tree/cgroup.procs
  find $tree/libreuse-boot-$$ -depth -type d -exec rmdir {} + 2>/dev/null || true
done
cat \"$base/upper/opt/test/output\" || cat \"$base/console\"
";
    let text = folder.join("script");
    fs::write(&text, script).expect("the folder is ours");
    let server = folder.join("server.py");
    fs::write(&server, CRASHING_SERVER).expect("the folder is ours");
    let base = folder.join("machine");
    fs::create_dir(&base).expect("the folder is ours");
    Program::new(program(&["unshare"]))
        .arguments(["--mount", "/bin/sh", "-c", outer, "boot"])
        .argument(base)
        .argument(support::reuseaddr())
        .argument(shim())
        .argument(&text)
        .argument(&server)
        .argument(compile_c(
            "static-service",
            include_str!("service.c"),
            &["-static"],
        ))
        .argument(options)
        .output()
}

/// Binds the port of its argument or, like many, the next one that it gets; serves one connection
/// and crashes.
const CRASHING_SERVER: &str = "
import os, socket, sys
port = int(sys.argv[1])
while True:
    listener = socket.socket()
    try:
        listener.bind(('127.0.0.1', port))
        break
    except OSError as error:
        if 'drift' not in sys.argv: sys.exit(f'{port}: {error.strerror}')
        port += 1
listener.listen()
print('on', port, flush=True)
with open(f'/run/{sys.argv[2]}', 'a') as log: log.write(f'{port}\\n')
accepted, _ = listener.accept()
accepted.close()
os.abort()
";

/// What is run in the machine. Each server is crashed three times; the ports that it was on are the
/// answer.
const IN_THE_MACHINE: &str = r#"
cd /opt/test
ip link set lo up
echo 1 >/proc/sys/net/ipv4/tcp_rfc1337 # Each TIME_WAIT stays: see own_network in the tests' support.
unit() { # name, arguments, settings, folder
    printf '[Service]\nExecStart=/usr/bin/python3 -I /opt/test/server.py %s\nRestart=always\nRestartSec=200ms\nLimitCORE=0\nEnvironment=KEPT=yes\n%b[Unit]\nStartLimitIntervalSec=0\n' "$2" "$3" > "${4:-/etc/systemd/system}/$1.service"
}
crash() { # name: waits for the server's next start, and has it serve one connection
    for try in $(seq 600); do
        starts=$(cat "/run/$1" 2>/dev/null | wc -l)
        if [ "$starts" -gt "${2}" ]; then
            port=$(tail -n 1 "/run/$1")
            python3=/usr/bin/python3
            $python3 -I -c "import socket; c = socket.create_connection(('127.0.0.1', $port)); c.recv(1)" && return
        fi
        sleep 0.1
    done
    return 1
}
unit fails "5001 fails" ""
unit drifts "5100 drifts drift" ""
unit shimmed "5201 shimmed" ""
unit 'worker@' "5301 worker-%i" "DynamicUser=no\nProtectHome=yes\nNoNewPrivileges=yes\n"
unit by-hand "5401 by-hand" "" # With the drop-in of README.md, and the library for everybody.
cp libreuse.so /usr/lib/
before=$(sha256sum /etc/systemd/system/shimmed.service)
./reuseaddr systemd --install shimmed
./reuseaddr systemd --install --log-file '/run/%p "odd" name.log' --log info 'worker@' 
after=$(sha256sum /etc/systemd/system/shimmed.service)
[ "$before" = "$after" ] && echo "unit untouched"
systemctl daemon-reload
systemctl start fails drifts shimmed worker@one by-hand
for n in 0 1 2; do
    crash shimmed $n; crash worker-one $n; crash by-hand $n
    [ $n = 0 ] && crash fails 0
    crash drifts $n
done
for try in $(seq 600); do
    [ "$(wc -l < /run/shimmed)" -ge 4 ] && [ "$(wc -l < /run/worker-one)" -ge 4 ] && [ "$(wc -l < /run/drifts)" -ge 4 ] && [ "$(wc -l < /run/by-hand)" -ge 4 ] && break
    sleep 0.1
done
for name in fails drifts shimmed worker-one by-hand; do echo "$name: $(head -n 4 /run/$name | tr '\n' ' ')"; done
echo "environment: $(systemctl show -p Environment shimmed)"
echo "odd logs: $(ls /run/*odd*name.log | wc -l)"
./reuseaddr check --pid "$(systemctl show -P MainPID shimmed)"
journalctl --no-pager -q -u fails | grep -c 'Address already in use' | sed 's/^[1-9][0-9]*$/fails says: Address already in use/'

# A user's own manager, and a unit of it.
useradd --create-home someone
systemctl start "user@$(id -u someone).service"
of_someone=/home/someone/.config/systemd/user
someone() {
    setpriv --reuid someone --regid someone --clear-groups env HOME=/home/someone XDG_RUNTIME_DIR="/run/user/$(id -u someone)" "$@"
}
someone mkdir -p $of_someone
unit own "5501 own" "" $of_someone
unit bare "5510 bare drift" "" $of_someone
touch /run/own /run/bare; chown someone /run/own /run/bare
someone ./reuseaddr systemd --user --install own
someone systemctl --user daemon-reload
someone systemctl --user start own bare
for n in 0 1 2; do crash own $n; crash bare $n; done
for try in $(seq 600); do
    [ "$(wc -l < /run/own)" -ge 4 ] && [ "$(wc -l < /run/bare)" -ge 4 ] && break
    sleep 0.1
done
for name in own bare; do echo "$name: $(head -n 4 /run/$name | tr '\n' ' ')"; done
someone systemctl --user stop own bare

# Installed twice it is the same, and removed it is gone.
one=$(cat /etc/systemd/system/shimmed.service.d/50-libreuse.conf)
./reuseaddr systemd --install shimmed 2>/dev/null
[ "$one" = "$(cat /etc/systemd/system/shimmed.service.d/50-libreuse.conf)" ] && echo "install is idempotent"
./reuseaddr systemd --remove shimmed
[ -e /etc/systemd/system/shimmed.service.d ] || echo "removed"

# What defeats the library.
warn() { # settings, as in a unit
    printf '[Service]\nExecStart=/usr/bin/python3\n%b\n' "$1" > /etc/systemd/system/warned.service
    systemctl daemon-reload
    echo "== $1"
    /opt/test/reuseaddr systemd --library "${2:-/opt/test/libreuse.so}" warned 2>&1 >/dev/null
}
mkdir -p /home/x && cp libreuse.so /home/x
warn 'RootDirectory=/srv'
warn 'ProtectHome=yes' /home/x/libreuse.so
warn 'NoExecPaths=/\nExecPaths=/usr'
warn 'TemporaryFileSystem=/opt'
warn 'UnsetEnvironment=LD_PRELOAD'
warn 'Environment="LD_PRELOAD=/usr/lib/other.so" "OTHER=a b"'
/opt/test/reuseaddr systemd --library /opt/test/libreuse.so warned 2>/dev/null
warn 'ExecStart=\nExecStart=/usr/bin/env -i /usr/bin/python3 --path=/x'
mkdir /etc/systemd/system/warned.service.d
printf '[Service]\nEnvironment="A=b c" LD_PRELOAD=/usr/lib/other.so\n' > /etc/systemd/system/warned.service.d/override.conf
warn 'Type=exec'
rm -r /etc/systemd/system/warned.service.d
chmod 700 /home/x
warn 'User=nobody' /home/x/libreuse.so
setcap cap_net_bind_service=ep /opt/test/reuseaddr
printf '[Service]\nUser=nobody\nExecStart=/opt/test/reuseaddr\n' > /etc/systemd/system/capable.service
printf '[Socket]\nListenStream=5400\n' > /etc/systemd/system/activated.socket
printf '[Service]\nExecStart=/usr/bin/python3\n' > /etc/systemd/system/activated.service
systemctl daemon-reload; systemctl start activated.socket
echo "== capable"; ./reuseaddr systemd capable 2>&1 >/dev/null
./reuseaddr systemd --install capable 2>/dev/null || echo "capable: $? $(ls -d /etc/systemd/system/capable.service.d 2>/dev/null)"
echo "== activated"; ./reuseaddr systemd activated 2>&1 >/dev/null
echo "== missing"; ./reuseaddr systemd missing 2>&1 >/dev/null
echo "== end"
"#;

#[test]
fn an_ordinary_user_is_told_the_whole_command_of_root() {
    let (_folder, command) = command_for_others("systemd-nobody");
    let finished = nobody()
        .argument(&command)
        .arguments(["systemd", "--install", "--wait", "60s", "no-such-unit"])
        .run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "can't be written: Permission denied");
    let expected = format!(
        "\n    sudo {} systemd --install --wait 60s no-such-unit.service\n",
        command.display()
    );
    assert!(finished.stderr.ends_with(&expected), "{finished:#?}");
}

#[test]
fn brings_a_crashing_service_back_to_its_port() {
    let folder = Folder::new("boot");
    let readme = fs::read_to_string(project().join("README.md")).expect("there is a README");
    let drop_in = readme.split("```ini\n").nth(1).expect("a drop-in");
    let drop_in = drop_in.split("```").next().unwrap_or_default();
    let by_hand = "/etc/systemd/system/by-hand.service.d";
    let written = format!(
        "mkdir {by_hand}\ncat >{by_hand}/override.conf <<'END'\n{drop_in}END\n{IN_THE_MACHINE}"
    );
    let output = boot(&folder, &written);
    let line = |start: &str| {
        output
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start} in:\n{output}"))
            .trim_end()
    };
    // The controls: without the drop-in one service fails, and one drifts.
    assert_eq!(line("fails: "), "fails: 5001");
    assert_eq!(line("fails says"), "fails says: Address already in use");
    assert_eq!(line("drifts: "), "drifts: 5100 5101 5102 5103");
    assert_eq!(line("shimmed: "), "shimmed: 5201 5201 5201 5201");
    assert_eq!(line("worker-one: "), "worker-one: 5301 5301 5301 5301");
    assert_eq!(line("by-hand: "), "by-hand: 5401 5401 5401 5401");

    // The same under a user's own manager.
    assert_eq!(line("bare: "), "bare: 5510 5511 5512 5513");
    assert_eq!(line("own: "), "own: 5501 5501 5501 5501");

    line("unit untouched");
    assert!(
        line("environment: ").contains("KEPT=yes LD_PRELOAD=/opt/test/libreuse.so"),
        "{output}"
    );
    assert_ne!(line("odd logs: "), "odd logs: 0");
    line("loaded: the library is at work in process");
    line("install is idempotent");
    assert_eq!(line("capable: "), "capable: 2");
    line("removed");

    for (case, says) in [
        (
            "RootDirectory=/srv",
            "RootDirectory=/srv: /opt/test/libreuse.so has to be there inside",
        ),
        (
            "ProtectHome=yes",
            "ProtectHome=yes hides /home/x/libreuse.so",
        ),
        ("NoExecPaths=/", "add ExecPaths=/opt/test/libreuse.so"),
        ("TemporaryFileSystem=/opt", "TemporaryFileSystem= hides"),
        ("UnsetEnvironment=LD_PRELOAD", "removes LD_PRELOAD again"),
        (
            "Environment=",
            "LD_PRELOAD=/opt/test/libreuse.so:/usr/lib/other.so",
        ),
        ("ExecStart=", "an option of env removes LD_PRELOAD"),
        (
            "Type=exec",
            "override.conf comes after 50-libreuse.conf and sets LD_PRELOAD",
        ),
        ("User=nobody", "may not be able to read /home/x/libreuse.so"),
        ("capable", "has file capabilities"),
        ("activated", "activated.socket binds the port for it"),
        ("missing", "no such unit yet"),
    ] {
        let start = output
            .find(&format!("== {case}"))
            .unwrap_or_else(|| panic!("{case} in:\n{output}"));
        let section = &output[start + 3..];
        assert_says(
            &section[..section.find("\n== ").unwrap_or(section.len())],
            says,
        );
    }
}

/// A static server of each type that a service may have. Each is crashed three times; the ports
/// that it was on are the answer.
const STATIC_IN_THE_MACHINE: &str = r#"
cd /opt/test
ip link set lo up
echo 1 >/proc/sys/net/ipv4/tcp_rfc1337 # Each TIME_WAIT stays: see own_network in the tests' support.
unit() { # name, port, type, settings
    printf '[Service]\nType=%s\nExecStart=/opt/test/static-server %s %s %s\nRestart=always\nRestartSec=200ms\nLimitCORE=0\nTimeoutStartSec=10\n%b[Unit]\nStartLimitIntervalSec=0\n' \
        "$3" "$2" "$1" "$3" "$4" > "/etc/systemd/system/$1.service"
}
crash() { # name, starts so far: waits for the next start, and has it serve one connection
    for try in $(seq 600); do
        if [ "$(cat "/run/$1" 2>/dev/null | wc -l)" -gt "$2" ]; then
            port=$(tail -n 1 "/run/$1")
            /usr/bin/python3 -I -c "import socket; c = socket.create_connection(('127.0.0.1', $port)); c.recv(1)" && return
        fi
        sleep 0.1
    done
    return 1
}
unit fails 5001 simple ""
unit drifts 5100 simple "Environment=DRIFT=yes\n"
unit simple 5210 simple ""; unit forking 5220 forking ""; unit notify 5230 notify ""
unit hardened 5300 notify "User=nobody\nNoNewPrivileges=yes\nPrivateTmp=yes\nProtectSystem=strict\nReadWritePaths=/run\n"
# A shell script starts it: by the library alone it drifts.
printf '#!/bin/sh\nexec /opt/test/static-server "$@"\n' > start.sh; chmod 755 start.sh
for name in scripted preloaded; do
    unit $name 5240 simple "Environment=DRIFT=yes\n"
    sed -i 's,/opt/test/static-server,/opt/test/start.sh,' /etc/systemd/system/$name.service
done
sed -i 's/5240/5250/; s,^Environment=.*,&\nEnvironment=LD_PRELOAD=/opt/test/libreuse.so,' /etc/systemd/system/preloaded.service
touch /run/hardened; chmod 666 /run/hardened
systemctl daemon-reload
for name in simple forking notify hardened scripted; do ./reuseaddr systemd --install $name 2>&1 | sed "s/^/$name install: /"; done
systemctl daemon-reload
cat /etc/systemd/system/notify.service.d/50-libreuse.conf /etc/systemd/system/scripted.service.d/50-libreuse.conf
for name in fails drifts preloaded simple forking notify hardened scripted; do systemctl start $name || echo "$name did not start"; done
# Again, with the drop-in in place.
before=$(cat /etc/systemd/system/notify.service.d/50-libreuse.conf)
./reuseaddr systemd --install notify 2>/dev/null
[ "$before" = "$(cat /etc/systemd/system/notify.service.d/50-libreuse.conf)" ] && echo "install is idempotent"
before=$(cat /etc/systemd/system/scripted.service.d/50-libreuse.conf)
./reuseaddr systemd --install scripted 2>/dev/null
[ "$before" = "$(cat /etc/systemd/system/scripted.service.d/50-libreuse.conf)" ] && echo "and of a script"
crash fails 0
for n in 0 1 2; do
    for name in drifts preloaded simple forking notify hardened scripted; do
        crash $name $n || { echo "$name $n: no start"; journalctl --no-pager -q -u $name | tail -n 30; exit; }
    done
done
for name in drifts preloaded simple forking notify hardened scripted; do
    for try in $(seq 600); do [ "$(wc -l < /run/$name)" -ge 4 ] && break; sleep 0.1; done
done
sleep 1
for name in fails drifts preloaded simple forking notify hardened scripted; do echo "$name: $(head -n 4 /run/$name | tr '\n' ' ')"; done
for name in simple forking notify hardened scripted; do
    pid=$(systemctl show -P MainPID $name)
    for try in $(seq 600); do grep -q "^TracerPid:.0$" /proc/$pid/status && break; sleep 0.1; done
    echo "$name main: $(tr '\0' ' ' < /proc/$pid/cmdline) $(grep TracerPid /proc/$pid/status | tr '\t' ' ')"
    echo "$name is $(systemctl is-active $name)"
done
echo "tracers: $(grep -lx reuseaddr /proc/[0-9]*/comm 2>/dev/null | wc -l)"
echo "== end"
"#;

#[test]
fn brings_a_static_service_back_to_its_port() {
    let folder = Folder::new("boot-static");
    let output = boot(&folder, STATIC_IN_THE_MACHINE);
    let has = |line: &str| {
        assert!(
            output.lines().any(|found| found.trim_end() == line),
            "{line:?} is not in:\n{output}"
        );
    };
    // The controls: without the drop-in one service fails, and one drifts.
    has("fails: 5001");
    has("drifts: 5100 5101 5102 5103");
    has("ExecStart=/opt/test/reuseaddr run -- /opt/test/static-server 5230 notify notify");
    has("preloaded: 5250 5251 5252 5253");
    has("ExecStart=/opt/test/reuseaddr run -- /opt/test/start.sh 5240 scripted simple");
    has("install is idempotent");
    has("and of a script");
    for (name, port, kind) in [
        ("scripted", 5240, "simple"),
        ("simple", 5210, "simple"),
        ("forking", 5220, "forking"),
        ("notify", 5230, "notify"),
        ("hardened", 5300, "notify"),
    ] {
        assert!(
            !output.contains(&format!("{name} did not start")),
            "{output}"
        );
        has(&format!("{name}: {port} {port} {port} {port}"));
        has(&format!(
            "{name} main: /opt/test/static-server {port} {name} {kind}  TracerPid: 0"
        ));
        has(&format!("{name} is active"));
    }
    has("tracers: 0");
}
