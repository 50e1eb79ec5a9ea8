//! `run`: the program gets the library and what was asked for, or is not started.

use crate::{assert_says, code, command_for_others, nobody, run};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use support::{Folder, Program, compile_c, in_one_line, own_network, shim, wait_until};

/// What a program sees of the environment.
fn environment(program: &Program) -> String {
    program.clone().argument("/usr/bin/env").output()
}

fn shim_text() -> &'static str {
    shim().to_str().expect("UTF-8")
}

#[test]
fn turns_options_into_variables() {
    let options = [
        ("--reuseaddr", "off", "LIBREUSE_REUSEADDR"),
        ("--linger", "graceful", "LIBREUSE_LINGER"),
        ("--wait", "60s", "LIBREUSE_WAIT"),
        ("--reuseport", "on", "LIBREUSE_REUSEPORT"),
        ("--ports", "49200,8000-8100", "LIBREUSE_PORTS"),
        ("--programs", "env,w*", "LIBREUSE_PROGRAMS"),
        ("--log", "error", "LIBREUSE_LOG"),
        ("--log-file", "/tmp/x.%p", "LIBREUSE_LOG_FILE"),
    ];
    let program = options.iter().fold(run(), |run, (option, value, _)| {
        run.argument(option).argument(value)
    });
    let seen = environment(&program);
    for (_, value, name) in options {
        assert!(
            seen.lines().any(|line| line == format!("{name}={value}")),
            "{name} in {seen}"
        );
    }
    // Nothing else is set, and options override the environment.
    assert!(!environment(&run()).contains("LIBREUSE_"));
    let seen = environment(
        &run()
            .with("LIBREUSE_WAIT", "1s")
            .with("LIBREUSE_LINGER", "zero")
            .arguments(["--wait", "2s"]),
    );
    assert!(
        seen.contains("LIBREUSE_WAIT=2s") && seen.contains("LIBREUSE_LINGER=zero"),
        "{seen}"
    );
}

#[test]
fn keeps_what_is_preloaded_already_behind_ours() {
    let libc = "/lib/x86_64-linux-gnu/libm.so.6";
    for (before, after) in [
        (libc.to_owned(), format!("{}:{libc}", shim_text())),
        (
            format!("{libc} {}", shim_text()),
            format!("{}:{libc}", shim_text()),
        ),
    ] {
        let seen = environment(&run().with("LD_PRELOAD", before));
        assert!(
            seen.lines()
                .any(|line| line == format!("LD_PRELOAD={after}")),
            "{seen}"
        );
    }
}

#[test]
fn tells_all_mistakes_at_once_and_starts_nothing() {
    let folder = Folder::new("mistakes");
    let witness = folder.join("witness");
    let finished = run()
        .with("LIBREUSE_LINGR", "off")
        .with("LIBREUSE_LOG", "loud")
        .arguments([
            "--wait", "60", "--linger", "maybe", "--ports", "80,x", "--evict", "touch",
        ])
        .argument(&witness)
        .run();
    assert_eq!(code(&finished), 125, "{finished:#?}");
    for mistake in [
        "--wait=60: no unit",
        "--linger=maybe: expected off, graceful or zero",
        "--ports=80,x: expected ports",
        "in the environment, LIBREUSE_LINGR=off: no such variable",
        "in the environment, LIBREUSE_LOG=loud: expected off, error",
        "--evict needs to know the ports",
    ] {
        assert_says(&finished.stderr, mistake);
    }
    assert!(!witness.exists());
    // Mistakes that clap finds have the same exit code.
    for arguments in [
        &["--lingr", "off", "true"][..],
        &[],
        &["--wait"],
        &["--log", "off", "--log", "off", "true"],
    ] {
        assert_eq!(
            code(&run().arguments(arguments).run()),
            125,
            "{arguments:?}"
        );
    }
}

#[test]
fn exits_as_a_shell_does() {
    let folder = Folder::new("exits");
    let text = folder.join("text");
    fs::write(&text, "echo hi\n").expect("the folder is ours");
    for (program, expected, says) in [
        ("no-such-program", 127, "was not found in PATH"),
        ("/no/such/program", 127, "was not found"),
        ("", 127, "PROGRAM is empty"),
        (text.to_str().expect("UTF-8"), 126, "can't be executed"),
        ("/etc", 126, "can't be executed"),
    ] {
        let finished = run().argument(program).run();
        assert_eq!(code(&finished), expected, "{finished:#?}");
        assert_says(&finished.stderr, says);
    }
    let finished = run().arguments(["sh", "-c", "exit 42"]).run();
    assert_eq!((code(&finished), finished.stderr.as_str()), (42, ""));
    let finished = run().arguments(["sh", "-c", "kill -TERM $$"]).run();
    assert_eq!(finished.signal(), Some(15));
}

/// The library and the tracer drop what they can't write, in silence: so it is said before.
#[test]
fn names_a_log_file_that_cannot_be_written() {
    let folder = Folder::new("run-log");
    let told = |file: &Path, options: &[&str]| {
        let run = run().argument("--log-file").argument(file);
        let finished = run.arguments(options).argument("true").run();
        assert_eq!(code(&finished), 0, "{finished:#?}");
        in_one_line(&finished.stderr)
    };
    let nowhere = folder.join("no-such-folder");
    let expected = format!(
        "reuseaddr: warning: the log file's directory {} does not exist",
        nowhere.display()
    );
    assert_eq!(told(&nowhere.join("log.%p"), &[]), expected);
    fs::write(&nowhere, "").expect("ours");
    assert_says(&told(&nowhere.join("log"), &[]), "Not a directory");
    assert_says(&told(folder.path(), &[]), "is a directory");
    let link = folder.join("link");
    symlink(folder.join("log"), &link).expect("ours");
    assert_says(
        &told(&link, &[]),
        "is a symbolic link, which is not followed",
    );
    let socket = folder.join("socket");
    let _socket = UnixListener::bind(&socket).expect("ours");
    assert_says(&told(&socket, &[]), "is a socket");
    // The control: one that can be, by its pid or not, and one that is not wanted.
    assert_eq!(told(&folder.join("log.%p"), &[]), "");
    assert_eq!(told(&folder.join("100%%"), &[]), "");
    assert_eq!(told(Path::new("/dev/null"), &[]), "");
    assert_eq!(told(&nowhere.join("log"), &["--log", "off"]), "");
}

/// A service may be given capabilities without being root.
#[test]
fn writes_a_log_file_where_a_capability_lets_it() {
    let (folder, command) = command_for_others("run-log-capability");
    let library = folder.copy(shim(), "libreuse.so");
    own_network();
    let closed = folder.join("closed");
    fs::create_dir(&closed).expect("ours");
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("ours");
    let log = closed.join("log");
    let said = |capabilities: &[&str]| {
        let run = nobody().arguments(capabilities).argument(&command);
        let run = run.arguments(["run", "--log", "trace", "--library"]);
        let run = run.argument(&library).argument("--log-file").argument(&log);
        let listen =
            "import socket; s = socket.socket(); s.bind((\"127.0.0.1\", 5000)); s.listen()";
        let finished = run
            .arguments(["/usr/bin/python3", "-I", "-c", listen])
            .run();
        assert_eq!(code(&finished), 0, "{finished:#?}");
        in_one_line(&finished.stderr)
    };
    assert_says(&said(&[]), "can't be written to: Permission denied");
    assert!(!log.exists());
    let override_ = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"];
    assert_eq!(said(&override_), "");
    assert!(log.exists());
}

#[test]
fn becomes_the_program() {
    let mut running = run().arguments(["sh", "-c", "echo $$; read line"]).start();
    assert_eq!(running.line(), running.pid().to_string());
    // Options stop at the program's name.
    let seen = run()
        .arguments(["printf", "%s.", "--wait", "-v", "--", "--help"])
        .output();
    assert_eq!(seen.trim(), "--wait.-v.--.--help.");
    let seen = run().arguments(["--", "printf", "%s", "-v"]).output();
    assert_eq!(seen.trim(), "-v");
}

/// Says how its signals, descriptors and mask are.
const STATE: &str = r#"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
int main(void) {
    struct sigaction pipe;
    sigset_t mask;
    sigaction(SIGPIPE, NULL, &pipe);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    FILE *out = fopen("/dev/fd/9", "w");
    if (!out) out = stdout;
    fprintf(out, "SIGPIPE %s, SIGUSR1 %s, descriptors",
        pipe.sa_handler == SIG_IGN ? "ignored" : "default", sigismember(&mask, SIGUSR1) ? "blocked" : "open");
    for (int fd = 0; fd < 9; fd++)
        if (fd != fileno(out) && fcntl(fd, F_GETFD) != -1) fprintf(out, " %d", fd);
    fprintf(out, "\n");
    return 0;
}
"#;

#[test]
fn hands_on_signals_mask_and_descriptors_as_they_are() {
    let state = compile_c("state", STATE, &[]);
    let starter = "
import os, signal, sys
ignore, block, closed = sys.argv[1:4]
signal.signal(signal.SIGPIPE, signal.SIG_IGN if ignore == 'y' else signal.SIG_DFL)
if block == 'y': signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.dup2(1, 9)
for fd in closed.split(','):
    if fd: os.close(int(fd))
os.execv(sys.argv[4], sys.argv[4:])
";
    for (ignore, block, closed) in [
        ("n", "n", ""),
        ("y", "n", ""),
        ("n", "y", "0"),
        ("y", "y", "0,2"),
    ] {
        let start = || {
            Program::new("/usr/bin/python3").arguments(["-I", "-c", starter, ignore, block, closed])
        };
        let without = start().argument(&state).output();
        let with = start()
            .argument(support::reuseaddr())
            .arguments(["run", "--library"])
            .argument(shim())
            .argument(&state)
            .output();
        assert_eq!(with, without, "{ignore} {block} {closed}");
    }
}

#[test]
fn passes_bytes_that_are_no_text() {
    let odd = OsStr::from_bytes(b"a\xff\xfe b\n");
    let finished = run().argument("printf").argument("%s").argument(odd).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_eq!(
        finished.stdout.trim_end(),
        String::from_utf8_lossy(odd.as_bytes()).trim_end()
    );
    let folder = Folder::new("bytes");
    let name = OsStr::from_bytes(b"pro\xffgram");
    let path = folder.copy("/usr/bin/true", name);
    assert_eq!(code(&run().argument(&path).run()), 0);
    // In an option they are a mistake, or part of a name.
    assert_eq!(
        code(
            &run()
                .argument("--linger")
                .argument(odd)
                .argument("true")
                .run()
        ),
        125
    );
    assert_eq!(
        code(
            &run()
                .argument("--programs")
                .argument(name)
                .argument("true")
                .run()
        ),
        0
    );
    let finished = run().argument(OsStr::from_bytes(b"\xff\xff")).run();
    assert_eq!(code(&finished), 127);
}

#[test]
fn finds_the_library_where_it_is_installed() {
    let command = support::reuseaddr();
    for (bin, lib) in [
        ("", ""),
        ("bin", "lib"),
        ("bin", "lib/libreuse"),
        ("sbin", "lib/x86_64-linux-gnu"),
    ] {
        let folder = Folder::new(&format!("layout-{}", lib.replace('/', "-")));
        for place in [bin, lib] {
            fs::create_dir_all(folder.join(place)).expect("the folder is ours");
        }
        let installed = folder.copy(command, Path::new(bin).join("reuseaddr"));
        let library = folder.copy(shim(), Path::new(lib).join("libreuse.so"));
        let seen = Program::new(&installed).arguments(["run", "env"]).output();
        assert!(
            seen.contains(&format!("LD_PRELOAD={}", library.display())),
            "{seen}"
        );
    }
}

#[test]
fn names_the_library_that_a_removed_folder_had() {
    let folder = Folder::new("removed");
    let script = format!(
        "cd {0} && rmdir {0} && exec \"$@\"",
        folder.path().display()
    );
    let run = |library: &str| {
        Program::new("/bin/sh")
            .arguments(["-c", &script, "sh"])
            .argument(support::reuseaddr())
            .arguments(["run", "--library", library, "true"])
            .run()
    };
    let finished = run("x.so");
    assert_eq!(code(&finished), 125, "{finished:#?}");
    assert_says(
        &finished.stderr,
        "x.so can't be resolved: the current directory was removed",
    );
    // The control: a path that leads there from everywhere.
    fs::create_dir(folder.path()).expect("ours");
    assert_eq!(code(&run(shim_text())), 0);
    fs::create_dir(folder.path()).expect("ours");
    assert_says(&run("").stderr, "--library needs a value: --library PATH");
}

#[test]
fn refuses_a_library_that_would_not_be_loaded() {
    let folder = Folder::new("refused-libraries");
    let with_library = |path: &Path| {
        crate::reuseaddr(["run", "--library"])
            .argument(path)
            .arguments(["touch"])
            .argument(folder.join("witness"))
            .run()
    };
    for (name, says) in [
        ("a b", "there is a space in the path"),
        ("a:b", "there is a colon in the path"),
        ("$LIB", "a dollar sign"),
        ("a\nb", "the byte 0x0a"),
    ] {
        fs::create_dir_all(folder.join(name)).expect("the folder is ours");
        let path = folder.join(name).join("libreuse.so");
        fs::copy(shim(), &path).expect("the folder is ours");
        let finished = with_library(&path);
        assert_eq!(code(&finished), 125, "{finished:#?}");
        assert_says(&finished.stderr, says);
    }
    for (path, says) in [
        ("/no/libreuse.so", "can't be read"),
        ("/etc/passwd", "is not libreuse.so"),
        ("/usr/bin/true", "is not libreuse.so"),
    ] {
        let finished = with_library(Path::new(path));
        assert_eq!(code(&finished), 125, "{finished:#?}");
        assert_says(&finished.stderr, says);
    }
    assert!(!folder.join("witness").exists());
    // Relative is as good as absolute: the program may run elsewhere.
    let seen = crate::reuseaddr(["run", "--library", "libreuse.so", "env"])
        .inside(shim().parent().expect("a folder"))
        .output();
    assert!(
        seen.contains(&format!("LD_PRELOAD={}", shim_text())),
        "{seen}"
    );
}

#[test]
fn starts_scripts_without_a_first_line() {
    let folder = Folder::new("bare-script");
    let path = folder.script("bare", b"echo \"$0 $1\"\n");
    let seen = run().argument(&path).argument("argument").output();
    assert_eq!(seen.trim(), format!("{} argument", path.display()));
}

/// A generator of numbers that a failure can be repeated with (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below the limit")
    }
}

#[test]
fn survives_any_arguments() {
    let words: [&[u8]; 28] = [
        b"run",
        b"check",
        b"status",
        b"evict",
        b"arm",
        b"systemd",
        b"completions",
        b"man",
        b"help",
        b"--linger",
        b"--wait",
        b"--ports",
        b"--json",
        b"--pid",
        b"--port",
        b"--dry-run",
        b"--evict",
        b"--address",
        b"true",
        b"graceful",
        b"60s",
        b"5000",
        b"1-99999",
        b"",
        b"--",
        b"-vv",
        b"\xff\xfe",
        b"=",
    ];
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    support::own_network();
    for _ in 0..300 {
        let mut arguments = Vec::new();
        for _ in 0..numbers.below(6) {
            let mut word = words[numbers.below(words.len())].to_vec();
            if numbers.below(8) == 0 {
                let byte = u8::try_from(numbers.below(255) + 1).expect("a byte");
                word.insert(numbers.below(word.len() + 1), byte);
            }
            arguments.push(OsStr::from_bytes(&word).to_owned());
        }
        let finished = crate::reuseaddr(&arguments).run();
        // A panic aborts.
        assert!(finished.signal().is_none(), "{arguments:?}: {finished:#?}");
        assert!(
            [0, 1, 2, 125, 126, 127].contains(&code(&finished)),
            "{arguments:?}: {finished:#?}"
        );
        assert!(
            !finished.stderr.contains("panicked"),
            "{arguments:?}: {finished:#?}"
        );
    }
}

/// Asking the dynamic linker takes longest, so it is asked only where the program's file does not
/// decide.
#[test]
fn asks_the_dynamic_linker_where_there_is_a_doubt() {
    let folder = Folder::new("doubts");
    let text = "#include <sys/socket.h>\n\
                int main(int argc, char **argv) { (void)argv; return argc > 99 && bind(0, 0, 0); }";
    let usual = compile_c("settled", text, &[]);
    // A linker that is where no distribution has it, and one that says nothing of what it does not
    // find.
    let linker = folder.copy("/lib64/ld-linux-x86-64.so.2", "ld-linux-x86-64.so.2");
    let elsewhere = format!("-Wl,--dynamic-linker={}", linker.display());
    let elsewhere = compile_c("linked-elsewhere", text, &[&elsewhere]);
    let of_musl = support::compile_c_by(support::musl_gcc(), "doubted-musl", text, &[]);
    let client = compile_c(
        "doubted-client",
        "#include <dlfcn.h>\nint main(int argc, char **argv) { return argc > 99 && dlopen(argv[1], \
         0); }",
        &[],
    );
    // One that any glibc starts. The library asks for no later one.
    let bare = "#include <stdlib.h>\n#include <sys/socket.h>\n\
                void _start(void) { bind(-1, 0, 0); exit(0); }";
    let for_any_glibc = compile_c("doubted-version", bare, &["-nostartfiles"]);
    // An auditing library (rtld-audit(7)) may keep others out.
    let audited = compile_c("doubted-audit", text, &["-Wl,--audit=/no/auditor.so"]);
    for (program, asked, variable) in [
        (&usual, false, None),
        (&elsewhere, true, None),
        (&of_musl, true, None),
        (&for_any_glibc, false, None),
        (&audited, true, None),
        (&usual, true, Some(("LD_AUDIT", "/no/auditor.so"))),
        // A program that does not import bind may call it through a library.
        (&client, true, None),
    ] {
        let mut started = run().argument("-v").argument(program);
        if let Some((name, value)) = variable {
            started = started.with(name, value);
        }
        let finished = started.run();
        assert_eq!(code(&finished), 0, "{finished:#?}");
        assert_eq!(
            finished.stderr.contains(" --list with "),
            asked,
            "{finished:#?}"
        );
        assert!(
            finished.stderr.contains("engine preload: "),
            "{finished:#?}"
        );
    }
    // Of one that can't call it, the file says so, unless it needs more than libc.
    let nothing = compile_c("doubted-nothing", "int main(void) { return 0; }", &[]);
    let with_a_library = compile_c(
        "doubted-library",
        "int main(void) { return 0; }",
        &["-Wl,--no-as-needed", "-lresolv"],
    );
    for (program, asked) in [(&nothing, false), (&with_a_library, true)] {
        let finished = run().argument("-v").argument(program).run();
        assert_eq!(code(&finished), 0, "{finished:#?}");
        assert_eq!(
            finished.stderr.contains(" --list with "),
            asked,
            "{finished:#?}"
        );
        assert_says(&finished.stderr, "engine trace: ");
    }
    // A linker that goes by the usual name, as gcompat's on musl does, and is not glibc's.
    let replaced = "mount --bind \"$1\" /lib64/ld-linux-x86-64.so.2 && shift && exec \"$@\"";
    let finished = Program::new("/usr/bin/unshare")
        .arguments([
            "--mount",
            "sh",
            "-ec",
            replaced,
            "sh",
            "/lib/ld-musl-x86_64.so.1",
        ])
        .argument(&linker)
        .argument(support::reuseaddr())
        .arguments(["run", "-v", "--library"])
        .argument(shim())
        .argument(&usual)
        .run();
    assert_says(&finished.stderr, " --list with ");
    // And where nothing may be mapped from.
    let mount = "mount -t tmpfs -o noexec,mode=755 tmpfs \"$1\" && cp \"$2\" \"$1\" && shift 2 && \
                 exec \"$@\"";
    let refused = Program::new("/usr/bin/unshare")
        .arguments(["--mount", "sh", "-ec", mount, "sh"])
        .argument(folder.path())
        .argument(shim())
        .argument(support::reuseaddr())
        .arguments(["run", "--engine", "preload", "--library"])
        .argument(folder.join(shim().file_name().expect("a file")))
        .argument("true")
        .run();
    assert_eq!(code(&refused), 125, "{refused:#?}");
    assert_says(&refused.stderr, "the dynamic linker ignores the library");
}

#[test]
fn is_gone_when_the_program_runs() {
    let running = run().arguments(["sleep", "60"]).start();
    let exe = format!("/proc/{}/exe", running.pid());
    wait_until("the program to be sleep", || {
        fs::read_link(&exe).is_ok_and(|path| path.ends_with("sleep") || path.ends_with("coreutils"))
    });
    let maps = fs::read_to_string(format!("/proc/{}/maps", running.pid())).expect("it is ours");
    wait_until("the library to be mapped", || {
        maps.contains("libreuse.so")
            || fs::read_to_string(format!("/proc/{}/maps", running.pid()))
                .is_ok_and(|maps| maps.contains("libreuse.so"))
    });
}
