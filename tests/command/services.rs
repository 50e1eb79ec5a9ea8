//! Services in a machine that systemd has booted: the engine `bpf` at each start, the first
//! restart, and the path of the command.

use crate::systemd::{boot, boot_with};
use std::fs;
use support::{Folder, in_one_line};

/// Whether systemd-nspawn can let a machine use bpf(2) here.
fn can_use_bpf() -> bool {
    const BPF: u64 = 1 << 39;
    let capabilities = fs::read_to_string("/proc/self/status").expect("there is one");
    let effective = capabilities
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .expect("a number");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("there is one");
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let mounted =
        fs::read_to_string("/proc/self/mounts").is_ok_and(|text| text.contains(" cgroup2 "));
    effective & BPF != 0 && version >= (6, 1) && mounted
}

const LET_BPF: &str =
    "--capability=CAP_BPF,CAP_PERFMON --system-call-filter=bpf --bind=/sys/fs/bpf";

/// A server that takes the next port where it can't have its own, serves one connection and
/// crashes.
const DRIFTING: &str = r#"
cd /opt/test; ip link set lo up
echo 1 >/proc/sys/net/ipv4/tcp_rfc1337
cat >drift.py <<'P'
import os, socket, sys
port = int(sys.argv[1])
while True:
    listener = socket.socket()
    try:
        listener.bind(('127.0.0.1', port))
        break
    except OSError:
        port += 1
listener.listen()
print(port, flush=True)
accepted, _ = listener.accept()
accepted.close()
os._exit(1)
P
unit() { # name, first port, settings, program
    printf "[Service]\nExecStart=${4:-/usr/bin/python3} -I /opt/test/drift.py $2\nStandardOutput=append:/run/ports-$1\nRestart=always\nRestartSec=50ms\n%b[Unit]\nStartLimitIntervalSec=0\n" "$3" >/etc/systemd/system/$1.service
}
crash() { # name: three times, each when it listens
    for n in 1 2 3; do
        for try in $(seq 1200); do
            [ "$(cat /run/ports-$1 2>/dev/null | wc -l)" -ge $n ] && break
            sleep 0.05
        done
        /usr/bin/python3 -I -c "import socket; c = socket.create_connection(('127.0.0.1', $(tail -n 1 /run/ports-$1))); c.recv(1)"
    done
    for try in $(seq 1200); do
        [ "$(cat /run/ports-$1 2>/dev/null | wc -l)" -ge 4 ] && break
        sleep 0.05
    done
    echo "$1: $(head -n 4 /run/ports-$1 | tr '\n' ' ')"
}
"#;

const SERVED_BY_BPF: &str = r#"
unit control 5600 ''
unit plain 5610 ''
unit delegating 5620 'Delegate=yes\n'
unit hardened 5630 'DynamicUser=yes\nProtectControlGroups=yes\nProtectSystem=strict\nProtectKernelTunables=yes\nNoNewPrivileges=yes\nCapabilityBoundingSet=\nMemoryDenyWriteExecute=yes\nSystemCallFilter=@system-service\nPrivateTmp=yes\n'
unit sliced 5640 'Slice=served.slice\n'
cp /usr/bin/python3 /opt/test/setuid-python; chmod 4755 /opt/test/setuid-python
unit setuid 5650 'User=nobody\n' /opt/test/setuid-python
for name in plain delegating hardened; do ./reuseaddr systemd --install --engine bpf --ports 5600-5700 $name; done
./reuseaddr systemd --install setuid
sed 's/^/setuid drop-in: /' /etc/systemd/system/setuid.service.d/50-libreuse.conf
systemctl daemon-reload
systemctl start served.slice
./reuseaddr bpf attach --unit served.slice
systemctl start control plain delegating hardened sliced setuid
for name in control plain delegating hardened sliced setuid; do crash $name; done
./reuseaddr bpf status
setpriv --reuid nobody --clear-groups ./reuseaddr bpf status | sed 's/^/for others: /'
./reuseaddr systemd --engine bpf --wait 1s plain || echo "refused: $?"
systemctl stop control plain delegating hardened sliced setuid
./reuseaddr bpf detach --unit plain
./reuseaddr bpf detach --all
"#;

#[test]
fn attaches_to_a_service_at_each_of_its_starts() {
    if !can_use_bpf() {
        eprintln!("skipped: the engine bpf takes CAP_BPF, Linux 6.1 and cgroup v2");
        return;
    }
    let folder = Folder::new("boot-bpf");
    let output = boot_with(&folder, &format!("{DRIFTING}{SERVED_BY_BPF}"), LET_BPF);
    for expected in [
        "control: 5600 5601 5602 5603",
        "plain: 5610 5610 5610 5610",
        "delegating: 5620 5620 5620 5620",
        "hardened: 5630 5630 5630 5630",
        "sliced: 5640 5640 5640 5640",
        "setuid: 5650 5650 5650 5650",
        "setuid drop-in: # The engine is bpf: ",
        "setuid drop-in: ExecStartPre=-+/opt/test/reuseaddr bpf attach --self",
        "/system.slice/plain.service: attached; only ports 5600-5700; served ports: 5600-5602,5610",
        "for others: /system.slice/plain.service: attached",
        "the engine bpf has no --wait",
        "bpf: detached from /system.slice/plain.service",
        "nothing is left",
    ] {
        assert!(output.contains(expected), "{expected} in:\n{output}");
    }
}

/// Units of every kind beside the plain service. Those that are served crash and come back.
const OF_EVERY_KIND: &str = r#"
printf '[Service]\nExecStart=/usr/bin/python3 -I /opt/test/drift.py %%i\nStandardOutput=append:/run/ports-made@%%i\nRestart=always\nRestartSec=50ms\n[Unit]\nStartLimitIntervalSec=0\n' >/etc/systemd/system/made@.service
printf '[Service]\nExecStart=/bin/sleep 1000\n' >'/etc/systemd/system/a\x2db.service'
unit nested 5690 'Slice=one-two-three.slice\n'
unit named 5695 ''
printf '[Install]\nAlias=other.service\n' >>/etc/systemd/system/named.service
unit idle 5696 ''
systemctl mask masked 2>/dev/null
systemctl daemon-reload
systemctl enable --quiet named
./reuseaddr systemd --engine bpf --install made@
./reuseaddr systemd --engine bpf --install masked
./reuseaddr systemd --engine bpf --install missing
systemctl daemon-reload
systemctl start one-two-three.slice
./reuseaddr bpf attach --unit one.slice
transient() { # name, first port, options
    name=$1 port=$2; shift 2
    systemd-run --quiet --unit=$name -p Restart=always -p RestartSec=50ms -p StartLimitIntervalSec=0 -p StandardOutput=append:/run/ports-$name "$@" /usr/bin/python3 -I /opt/test/drift.py $port
}
transient bare 5700
transient passing 5710 -p 'ExecStartPre=-+/opt/test/reuseaddr bpf attach --self'
systemctl start made@5680 nested named 'a\x2db'
for name in made@5680 nested bare passing; do crash $name; done
systemd-run --quiet --scope --unit=scoped sleep 1000 &
for try in $(seq 1200); do [ "$(systemctl is-active scoped.scope)" = active ] && break; sleep 0.05; done
for name in 'a\x2db' other scoped.scope bare made@5680; do ./reuseaddr bpf attach --unit "$name"; done
for name in made@ idle missing idle.slice; do ./reuseaddr bpf attach --unit "$name"; done
systemctl stop named
./reuseaddr bpf detach --unit other
for name in other scoped.scope made@5680 one.slice idle; do ./reuseaddr bpf detach --unit "$name" || echo "$name: $?"; done
systemctl stop made@5680 nested bare passing
./reuseaddr bpf detach --all
"#;

#[test]
fn attaches_to_units_of_every_kind() {
    if !can_use_bpf() {
        eprintln!("skipped: the engine bpf takes CAP_BPF, Linux 6.1 and cgroup v2");
        return;
    }
    let folder = Folder::new("boot-kinds");
    let output = boot_with(&folder, &format!("{DRIFTING}{OF_EVERY_KIND}"), LET_BPF);
    let words = in_one_line(&output);
    for expected in [
        "made@5680: 5680 5680 5680 5680",
        "nested: 5690 5690 5690 5690",
        "bare: 5700 5701 5702 5703",
        "passing: 5710 5710 5710 5710",
        "systemctl restart 'made@*.service'",
        "masked.service is masked",
        "systemd knows no unit missing.service now",
        "bpf: attached at /one.slice;",
        r"bpf: attached at /system.slice/a\x2db.service;",
        "bpf: attached at /system.slice/named.service;",
        "bpf: attached at /system.slice/scoped.scope;",
        "bpf: attached at /system.slice/bare.service;",
        "add to systemd-run: -p 'ExecStartPre=-+/opt/test/reuseaddr bpf attach --self'",
        "bpf: attached at /system.slice/system-made.slice/made@5680.service already;",
        "made@.service is a template, which does not run itself",
        "idle.service does not run, so it has no control group yet; to attach at each start",
        "systemd knows no unit missing.service, and no user's manager runs one",
        "idle.slice does not run, so it has no control group yet: `sudo systemctl start idle.slice`",
        "bpf: detached from /system.slice/named.service",
        "bpf: libreuse was not attached at named.service other: 1",
        "bpf: detached from /system.slice/scoped.scope",
        "bpf: detached from /system.slice/system-made.slice/made@5680.service",
        "bpf: detached from /one.slice",
        "bpf: libreuse was not attached at idle.service idle: 1",
        "nothing is left",
    ] {
        assert!(words.contains(expected), "{expected} in:\n{output}");
    }
}

/// A service with a root directory in which there is nothing but its static program.
const ROOTED: &str = r#"
mkdir /run/out
for name in alone rooted; do
    mkdir -p /srv/$name/run/out /srv/$name/proc /srv/$name/sys /srv/$name/dev /srv/$name/tmp
    cp /opt/test/static-server /srv/$name/server
done
rooted() { # name, first port
    printf "[Service]\nRootDirectory=/srv/$1\nBindPaths=/run/out\nEnvironment=DRIFT=yes\nExecStart=/server $2 out/$1 simple\nRestart=always\nRestartSec=50ms\n[Unit]\nStartLimitIntervalSec=0\n" >/etc/systemd/system/$1.service
    ln -s out/$1 /run/ports-$1
}
rooted alone 5660
rooted rooted 5670
./reuseaddr systemd --install rooted
sed 's/^/drop-in: /' /etc/systemd/system/rooted.service.d/50-libreuse.conf
systemctl daemon-reload
systemctl start alone rooted
for name in alone rooted; do crash $name; done
# Other commands of the unit have to stay in its root.
mkdir /etc/systemd/system/alone.service.d
printf '[Service]\nExecReload=/server reload\n' >/etc/systemd/system/alone.service.d/reload.conf
systemctl daemon-reload
./reuseaddr systemd --engine bpf alone || echo "refused: $?"
systemctl stop alone rooted
./reuseaddr bpf detach --all
"#;

#[test]
fn attaches_to_a_service_in_another_root_directory() {
    if !can_use_bpf() {
        eprintln!("skipped: the engine bpf takes CAP_BPF, Linux 6.1 and cgroup v2");
        return;
    }
    let folder = Folder::new("boot-rooted");
    let output = boot_with(&folder, &format!("{DRIFTING}{ROOTED}"), LET_BPF);
    for expected in [
        "alone: 5660 5661 5662 5663",
        "drop-in: # The engine is bpf: the service has another root directory",
        "drop-in: RootDirectoryStartOnly=yes",
        "rooted: 5670 5670 5670 5670",
        "the engine bpf can't be attached by a drop-in",
        "reuseaddr bpf attach --unit system.slice",
        "refused: 2",
    ] {
        assert!(output.contains(expected), "{expected} in:\n{output}");
    }
}

const RESTARTED: &str = r#"
cat >live.py <<'P'
import socket, sys
listener = socket.socket()
listener.bind(('0.0.0.0', int(sys.argv[1])))
listener.listen(64)
while True:
    accepted, _ = listener.accept()
    accepted.recv(100)
    accepted.sendall(b'hello')
    accepted.close()
P
go() { # name, port, options of --install
    name=$1 port=$2; shift 2
    printf "[Service]\nExecStart=/usr/bin/python3 -I /opt/test/live.py $port\n" >/etc/systemd/system/$name.service
    systemctl daemon-reload; systemctl start $name
    for n in 1 2 3; do
        for try in $(seq 200); do
            /usr/bin/python3 -I -c "import socket; c = socket.create_connection(('127.0.0.1', $port)); c.sendall(b'x'); c.recv(100); c.recv(100)" 2>/dev/null && break
            sleep 0.05
        done
    done
    for try in $(seq 1200); do
        [ "$(ss -Htan state time-wait "sport = :$port" | wc -l)" = 3 ] && break
        sleep 0.05
    done
    [ "$1" = none ] || ./reuseaddr systemd --install "$@" $name
    systemctl daemon-reload; systemctl restart $name
    # It fails at once, or it listens.
    for try in $(seq 200); do
        [ "$(systemctl is-active $name)" = failed ] && break
        /usr/bin/python3 -I -c "import socket; socket.create_connection(('127.0.0.1', $port)).close()" 2>/dev/null && break
        sleep 0.05
    done
    echo "$name: $(systemctl is-active $name)"
}
go control 5000 none
go installed 5001
go waiting 5002 --wait 65s
"#;

#[test]
fn the_two_lines_that_are_printed_restart_the_service() {
    for (options, says) in [
        // A seccomp filter of nspawn's forbids pidfd_getfd, so that nothing can be armed.
        ("", "LIBREUSE_WAIT=125s, so that the restart waits"),
        (
            "--system-call-filter=pidfd_getfd",
            "SO_REUSEADDR is set on 1 listener of the service that runs now (port 5001); 3 \
             leftovers of earlier connections cleared, for its first restart.",
        ),
    ] {
        let folder = Folder::new("boot-first");
        let output = boot_with(&folder, &format!("{DRIFTING}{RESTARTED}"), options);
        let words = in_one_line(&output);
        for expected in [
            "control: failed",
            "installed: active",
            "waiting: active",
            says,
        ] {
            assert!(words.contains(expected), "{expected} in:\n{output}");
        }
    }
}

const FILTERED: &str = r#"
cd /opt/test; ip link set lo up
unit() { # name, port, settings, options of run
    printf "[Service]\nExecStart=/opt/test/reuseaddr run $4 /opt/test/static-server $2 $1 simple\nRestart=always\nRestartSec=100ms\nLimitCORE=0\nStandardError=append:/run/stderr-$1\n%b[Unit]\nStartLimitIntervalSec=0\n" "$3" >/etc/systemd/system/$1.service
}
starts() { # name, how many: waits until it has listened so often
    for try in $(seq 1200); do
        [ "$(cat /run/$1 2>/dev/null | wc -l)" -ge $2 ] && break
        sleep 0.05
    done
    echo "$1: $(cat /run/$1 2>/dev/null | wc -l) starts"
}
unit open 5001 ''
unit filtered 5002 'SystemCallFilter=@system-service\n'
unit failing 5003 'SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM\n'
unit waiting 5004 'SystemCallFilter=@system-service\n' '--ports 5004'
unit allowed 5005 'SystemCallFilter=@system-service @debug\n'
printf '[Service]\nExecStart=/opt/test/static-server 5006 bare simple\nSystemCallFilter=@system-service\n' >/etc/systemd/system/bare.service
systemctl daemon-reload
systemctl start open filtered failing waiting allowed
for name in open filtered failing waiting allowed; do starts $name 1; done
for port in 5001 5002 5005; do
    /usr/bin/python3 -I -c "import socket; c = socket.create_connection(('127.0.0.1', $port)); c.recv(1)"
done
for name in open allowed; do starts $name 2; done
# Nor does the one that is not traced come to start a second time: it has tried to.
for try in $(seq 1200); do
    grep -q 'in use' /run/stderr-filtered && break
    sleep 0.05
done
echo "control: $(cat /run/filtered | wc -l)"
for name in open filtered failing waiting allowed; do sed "s/^/$name: /" /run/stderr-$name; done
systemctl stop open filtered failing waiting allowed
./reuseaddr systemd bare 2>&1 >/dev/null
"#;

/// A service whose filter forbids ptrace(2) starts all the same, and the line names what to add.
#[test]
fn starts_a_service_whose_filter_forbids_to_trace() {
    let output = boot(&Folder::new("boot-filtered"), FILTERED);
    let words = in_one_line(&output);
    for expected in [
        "open: 1 starts filtered: 1 starts failing: 1 starts waiting: 1 starts allowed: 1 starts",
        // With the group there is a second start over TIME_WAIT, and without it there is none.
        "open: 2 starts allowed: 2 starts control: 1",
        "filtered: bind: Address already in use",
        "or nothing is traced and the program starts unchanged: add SystemCallFilter=@debug",
    ] {
        assert!(words.contains(expected), "{expected} in:\n{output}");
    }
    for (name, says) in [
        ("filtered", "is started unchanged"),
        ("failing", "is started unchanged"),
        ("waiting", "so `run` waits for its ports"),
    ] {
        let lines: Vec<_> = output
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("{name}: ")))
            .collect();
        let said = lines.join(" ");
        let said = in_one_line(&said);
        assert!(
            said.contains("add SystemCallFilter=@debug") && said.contains(says),
            "{name}:\n{output}"
        );
    }
}

const REMEMBERED: &str = r#"
printf '[Service]\nExecStart=/opt/test/static-server 5001\n' >/etc/systemd/system/traced.service
systemctl daemon-reload
from() { # a path of the command
    mkdir -p "$(dirname "$1")"; cp reuseaddr "$1"
    "$1" systemd traced 2>/dev/null | sed "s|^ExecStart=/|$1 prints: /|"
    "$1" systemd --install traced
    sed "s|^ExecStart=/|$1 writes: /|" /etc/systemd/system/traced.service.d/50-libreuse.conf
    rm "$1"
}
from /root/.cargo/bin/reuseaddr
stat -c 'copy: %a %U' /usr/local/lib/libreuse/reuseaddr
/usr/local/lib/libreuse/reuseaddr --version
touch /opt/test/pyvenv.cfg
from /opt/test/bin/reuseaddr
rm /opt/test/pyvenv.cfg
from /usr/local/bin/reuseaddr
"#;

#[test]
fn writes_no_path_that_goes_away() {
    let folder = Folder::new("boot-path");
    let output = boot(&folder, &format!("{DRIFTING}{REMEMBERED}"));
    let copy = "/usr/local/lib/libreuse/reuseaddr run -- /opt/test/static-server";
    for (path, names) in [
        ("/root/.cargo/bin/reuseaddr", copy),
        ("/opt/test/bin/reuseaddr", copy),
        (
            "/usr/local/bin/reuseaddr",
            "/usr/local/bin/reuseaddr run -- /opt/test/static-server",
        ),
    ] {
        for verb in ["prints", "writes"] {
            let expected = format!("{path} {verb}: {names}");
            assert!(output.contains(&expected), "{expected} in:\n{output}");
        }
    }
    assert!(output.contains("copy: 755 root"), "{output}");
    assert!(output.contains("\nreuseaddr 0."), "{output}");
}
