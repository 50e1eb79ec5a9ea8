//! Programs that `AppArmor` confines.

use crate::{BUSY, PORT, dynamic_victim, run_with, second_run, victim_file};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{Folder, Program, compile_c, is_in_a_guest, shim};

/// Profiles are the whole machine's. None of those here is for a file outside the test's folder,
/// but loading one needs an `AppArmor` that is switched on, and its parser.
fn may_load_profiles() -> bool {
    let may = is_in_a_guest("LIBREUSE_TEST_MAY_LOAD_PROFILES");
    if may {
        let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        assert_eq!(enabled.unwrap_or_default().trim(), "Y", "AppArmor is off");
    }
    may
}

/// Confines a program. What a profile has to allow in any case is in it: libc, the network, to be
/// killed, and to read and write.
fn confine(folder: &Folder, program: &Path, rules: &str) {
    let file = folder.join("profile");
    let program = program.display();
    let text = format!(
        "profile \"{program}\" \"{program}\" {{\n  network inet stream,\n  signal receive,\n  \
         /** rw,\n  /{{,usr/}}lib/** mr,\n  \
         \"{program}\" mr,\n  {rules}\n}}\n"
    );
    fs::write(&file, text).expect("the folder is ours");
    let parser = Command::new("/usr/sbin/apparmor_parser")
        .args(["--replace", "--skip-cache"])
        .arg(&file)
        .output()
        .expect("the parser is there");
    assert!(parser.status.success(), "{parser:?}");
}

/// A library that the profile does not allow to be mapped is left out, and ld.so says so.
#[test]
fn a_profile_must_allow_the_library() {
    if !may_load_profiles() {
        return;
    }
    let folder = Folder::new("apparmor-library");
    let server = dynamic_victim(&folder);
    let program = Program::new(&server).argument(PORT.to_string()).shimmed();
    confine(&folder, &server, "");
    assert_eq!(second_run(&program), BUSY);
    let said = program.run().stderr;
    assert!(said.contains("cannot be preloaded"), "{said}");
    confine(&folder, &server, &format!("\"{}\" mr,", shim().display()));
    assert_eq!(second_run(&program), "listening");
}

/// `px` and `ix` leave the environment alone. `Px` and `Cx` have the kernel set `AT_SECURE`, and
/// the dynamic linker drops `LD_PRELOAD`.
#[test]
fn a_transition_that_cleans_the_environment_keeps_the_library_out() {
    if !may_load_profiles() {
        return;
    }
    let folder = Folder::new("apparmor-steps");
    let text = "#include <unistd.h>\nint main(int, char **arguments) { return execv(arguments[1], \
                arguments + 1) != 0; }";
    let server = dynamic_victim(&folder);
    let starter = folder.copy(compile_c("starter", text, &[]), "starter");
    let library = format!("\"{}\" mr,", shim().display());
    confine(&folder, &server, &library);
    let program = Program::new(&starter)
        .argument(&server)
        .argument(PORT.to_string())
        .shimmed();
    for (transition, expected) in [("ix", "listening"), ("px", "listening"), ("Px", BUSY)] {
        let rules = format!("{library}\n  \"{}\" {transition},", server.display());
        confine(&folder, &starter, &rules);
        assert_eq!(second_run(&program), expected, "{transition}");
    }
}

/// Who traces is not confined itself, and nothing has to be allowed.
#[test]
fn a_confined_program_is_traced() {
    if !may_load_profiles() {
        return;
    }
    let folder = Folder::new("apparmor-traced");
    let server = folder.copy(victim_file(), "server");
    let program = Program::new(&server).argument(PORT.to_string());
    // The control: it is confined.
    confine(&folder, &server, "deny network inet stream,");
    assert!(program.run().stdout.contains("Bad file descriptor"));
    confine(&folder, &server, "");
    assert_eq!(second_run(&program), BUSY);
    assert_eq!(second_run(&run_with::<&str>([], &program)), "listening");
}
