//! `check` and `run` on programs that start others: scripts, and commands such as `env` and
//! `timeout`.

use crate::check::{build, witnessed};
use crate::{assert_says, check, code, json, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support::{Folder, Program, compile_c, program};

#[test]
fn follows_scripts_to_what_runs_them() {
    let folder = Folder::new("scripts");
    let fixed = build("witness-interpreter", &["-static"]);
    let by_static = format!("#!{}\n", fixed.display());
    for (name, text, works, says) in [
        (
            "shell",
            "#!/bin/sh\necho hi\n",
            true,
            "is a script, which /bin/sh runs",
        ),
        (
            "by-env",
            "#!/usr/bin/env -S sh -e\necho hi\n",
            true,
            "is a script, which /usr/bin/sh runs",
        ),
        ("bare", "echo hi\n", true, "has no #! line"),
        (
            "wrapper",
            "#!/bin/sh\nexec /usr/bin/true \"$@\"\n",
            true,
            "line 2: exec /usr/bin/true",
        ),
        (
            "pyenv",
            "#!/bin/sh\nexec pyenv exec x\n",
            true,
            "pyenv which NAME",
        ),
        (
            "drops",
            "#!/bin/sh\nunset LD_PRELOAD\n",
            true,
            "removes LD_PRELOAD, line 2",
        ),
        (
            "cleans",
            "#!/usr/bin/env -iS sh\n",
            true,
            "makes env drop LD_PRELOAD",
        ),
        (
            "nowhere",
            "#!/usr/bin/env no-such-program\n",
            false,
            "no-such-program, which is not in PATH",
        ),
        (
            "quoted",
            "#!/usr/bin/env -S A='b c' sh -e\necho hi\n",
            true,
            "is a script, which /usr/bin/sh runs",
        ),
        (
            "windows",
            "#!/bin/sh\r\necho hi\r\n",
            false,
            "ends with a carriage return",
        ),
        (
            "by-env-on-windows",
            "#!/usr/bin/env sh\r\necho hi\r\n",
            false,
            "ends with a carriage return",
        ),
        (
            "cleans-by-line",
            "#!/bin/sh\nexec env -iC / true\n",
            true,
            "removes LD_PRELOAD, line 2",
        ),
        (
            "one word",
            "#!/usr/bin/env sh -e\n",
            false,
            "sh -e, which is not in PATH",
        ),
        ("by-static", &by_static, true, "statically linked"),
    ] {
        let path = folder.script(name, text.as_bytes());
        let checked = check().argument(&path).run();
        assert_eq!(code(&checked), i32::from(!works), "{name}: {checked:#?}");
        assert_says(&checked.stdout, says);
        if works && !["pyenv"].contains(&name) {
            let started = run().argument(&path).run();
            assert_eq!(code(&started), 0, "{name}: {started:#?}");
        }
    }
    // A script that is its own interpreter.
    let path = folder.join("loop");
    folder.script("loop", format!("#!{}\n", path.display()).as_bytes());
    assert_eq!(code(&check().argument(&path).run()), 1);
    // Nothing at all.
    let path = folder.script("noise", [0, 159, 146, 150]);
    let checked = check().argument(&path).run();
    assert_says(&checked.stdout, "neither an ELF file nor a script");
    let path = folder.script("damaged", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    assert_says(&check().argument(&path).run().stdout, "damaged ELF file");
}

/// A wrapper that preloads a library of its own keeps ours, or drops it.
#[test]
fn tells_wrappers_that_keep_the_library_from_those_that_drop_it() {
    let folder = Folder::new("wrappers");
    let witness = build("witness-wrapped", &[]);
    for (number, (value, expected)) in [
        (r#""/nowhere/other.so:$LD_PRELOAD""#, "with"),
        (r#""/nowhere/other.so${LD_PRELOAD:+:$LD_PRELOAD}""#, "with"),
        ("/nowhere/other.so", "without"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!(
            "#!/bin/sh\nexport LD_PRELOAD={value}\nexec {}\n",
            witness.display()
        );
        let wrapper = folder.script(&format!("wrapper-{number}"), text.as_bytes());
        assert_eq!(witnessed(&wrapper), expected, "{value}");
        let checked = check().argument(&wrapper).run();
        let engine = if expected == "with" {
            "preload"
        } else {
            "trace"
        };
        assert_says(&checked.stdout, &format!("the engine is {engine}"));
    }
}

#[test]
fn follows_commands_that_start_another() {
    let fixed = build("witness-started", &["-static"]);
    for starter in [
        &["nice", "-n", "5"][..],
        &["timeout", "500"],
        // There is a program of that name.
        &["timeout", "-s", "kill", "500"],
        &["env", "A=b"],
        &["nohup"],
    ] {
        let finished = run()
            .argument("-v")
            .arguments(starter)
            .argument(&fixed)
            .run();
        assert_eq!(finished.stdout.trim(), "without", "{finished:#?}");
        assert_says(&finished.stderr, "engine trace: ");
        assert_says(&finished.stderr, "statically linked");
        let answer = json(
            &check()
                .argument("--json")
                .arguments(starter)
                .argument(&fixed),
        );
        assert_eq!(answer["format"]["linkage"], "static", "{answer}");
    }
    for options in [&["-i"][..], &["-u", "LD_PRELOAD"], &["LD_PRELOAD="]] {
        let finished = run()
            .arguments(["-v", "env"])
            .arguments(options)
            .argument("true")
            .run();
        assert_eq!(code(&finished), 0, "{finished:#?}");
        assert_says(&finished.stderr, "engine trace: ");
        assert_says(&finished.stderr, "removes LD_PRELOAD");
    }
    // Root's su keeps the environment, unless it is to log in.
    assert_eq!(code(&check().arguments(["su", "nobody"]).run()), 0);
    assert_eq!(code(&check().arguments(["su", "-", "nobody"]).run()), 1);
}

/// Any program may have a wrapper's name: its file decides.
#[test]
fn knows_who_has_others_started_by_the_file() {
    let folder = Folder::new("elsewhere");
    let text = "#include <stdio.h>\nint main(int count, char **arguments) { (void)arguments; \
                return count > 9 && puts(WORD); }";
    for (name, word, setuid, says) in [
        ("sudo", "", true, "sudo reuseaddr run PROGRAM"),
        (
            "podman",
            "/sys/fs/cgroup",
            false,
            "has another process start",
        ),
        ("docker", "cgroup", false, "has another process start"),
        ("ssh", "SSH-2.0-it", false, "has another process start"),
        (
            "systemctl",
            "org.freedesktop.systemd1",
            false,
            "systemd UNIT",
        ),
    ] {
        let word = format!("-DWORD=\"{word}\"");
        let program = folder.copy(
            compile_c(&format!("elsewhere-{name}"), text, &[&word]),
            name,
        );
        let mode = if setuid { 0o4755 } else { 0o755 };
        fs::set_permissions(&program, fs::Permissions::from_mode(mode)).expect("it is ours");
        let refused = run().argument(&program).argument("true").run();
        assert_eq!(code(&refused), 125, "{refused:#?}");
        assert_says(&refused.stderr, says);
        // An option overrides that.
        if !setuid {
            let options = ["--engine", "preload"];
            let preloaded = run().arguments(options).argument(&program).run();
            assert_eq!(code(&preloaded), 0, "{preloaded:#?}");
        }
        // The control: a program of that name that starts nothing.
        fs::remove_file(&program).expect("it is ours");
        let program = folder.copy("/usr/bin/true", name);
        assert_eq!(code(&run().argument(&program).run()), 0, "{name}");
    }
    let batch = folder.copy("/usr/bin/true", "batch");
    assert_eq!(code(&run().argument(&batch).run()), 0);
    // The one that there is.
    assert_eq!(
        code(&run().arguments(["/usr/bin/systemd-run", "true"]).run()),
        125
    );
}

/// `run` reads the options of `env` as `env` does.
#[test]
fn reads_what_env_is_told_as_env_does() {
    let witness = build("witness-by-env", &[]);
    let path = witness.to_str().expect("UTF-8");
    let splitting = |words: &str| format!("{words} {path}");
    for (words, expected) in [
        (vec!["-C/tmp", path], "with"),
        (vec!["-vC", "/tmp", path], "with"),
        (vec!["--chdir", "/tmp", path], "with"),
        (vec!["-ui", path], "with"),
        (vec!["-S", path], "with"),
        (vec!["-S", &splitting("-u HOME A='b c'")], "with"),
        (vec!["-i", path], "without"),
        (vec!["-iC", "/tmp", path], "without"),
        (vec!["-iv", path], "without"),
        (vec!["-vi", path], "without"),
        (vec!["-", path], "without"),
        (vec!["--ignore-env", path], "without"),
        (vec!["-vuLD_PRELOAD", path], "without"),
        (vec!["--un", "LD_PRELOAD", path], "without"),
        (vec!["-S", &splitting("-i")], "without"),
        (vec!["-iS", &splitting("A=b")], "without"),
        (
            vec![&format!("--split-string=LD_PRELOAD= {path}")],
            "without",
        ),
    ] {
        let by_env = Program::new(program(&["env"])).arguments(&words).shimmed();
        assert_eq!(by_env.run().stdout.trim(), expected, "{words:?}");
        let started = run().argument("env").arguments(&words).run();
        let expected = match expected {
            "with" => (0, "with"),
            // By the tracer.
            _ => (0, "without"),
        };
        assert_eq!(
            (code(&started), started.stdout.trim()),
            expected,
            "{started:#?}"
        );
        let checked = check().argument("env").arguments(&words).run();
        assert_eq!(code(&checked) == 0, expected.0 == 0, "{checked:#?}");
    }
}
