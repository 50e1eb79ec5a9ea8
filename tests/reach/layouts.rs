//! What the shim and the kernel hand each other has the right layout for each processor: times,
//! files, options.

use crate::restart::LEGACY;
use crate::systems::{LIBRARY, System, systems};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use support::{Folder, TcpState, count, greet_after_a_word, own_network, settle, wait_until};

const PRELOAD: (&str, &str) = ("LD_PRELOAD", LIBRARY);

#[test]
fn bind_waits_as_long_as_it_is_told_to() {
    for system in systems() {
        let binary = system.compile("legacy", LEGACY, &[]);
        own_network();
        let holder = TcpListener::bind("127.0.0.1:49200").expect("a network of our own");
        let variables = [
            PRELOAD,
            ("LIBREUSE_WAIT", "300ms,listeners"),
            ("LIBREUSE_LOG", "debug"),
        ];
        let mut running = system.program(&binary, &variables).start();
        running.expect("port 49201");
        wait_until("the report", || {
            running.stderr_so_far().contains("still in use after ")
        });
        let log = running.stderr_so_far();
        let (_, rest) = log
            .split_once("still in use after ")
            .expect("a line that says so");
        let waited: u32 = rest
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .expect("a number");
        assert!(waited >= 300, "{system:?} {log}");
        running.kill();

        let mut waiting = system
            .program(&binary, &[PRELOAD, ("LIBREUSE_WAIT", "60s,listeners")])
            .start();
        let call = format!("/proc/{}/syscall", waiting.pid());
        wait_until("a bind that sleeps", || {
            let text = fs::read_to_string(&call).unwrap_or_default();
            // clock_nanosleep on x86-64, under qemu too, and on 32-bit x86.
            text.starts_with("230 ") || text.starts_with("267 ")
        });
        drop(holder);
        waiting.expect("port 49200");
        waiting.kill();
    }
}

#[test]
fn connections_close_as_they_are_told_to() {
    for system in systems() {
        let binary = system.compile("legacy", LEGACY, &[]);
        // qemu hands on four bytes of TCP_INFO and no more, and turns them round: graceful knows
        // nothing of the peer there.
        let lingers = match system {
            System::Foreign(_) => &[("off", 1)][..],
            _ => &[("off", 1), ("graceful", 0)],
        };
        for &(linger, time_waits) in lingers {
            own_network();
            let variables = [PRELOAD, ("LIBREUSE_LINGER", linger)];
            let mut running = system
                .program(&binary, &variables)
                .argument("hears first")
                .start();
            running.expect("port 49200");
            greet_after_a_word(49200);
            settle(49200);
            assert_eq!(
                count(49200, TcpState::TimeWait),
                time_waits,
                "{system:?} {linger}"
            );
            running.kill();
        }
    }
}

#[test]
fn reports_arrive_on_stderr_and_at_the_end_of_a_large_file() {
    const REPORT: &str = "loaded: reuseaddr on, linger off, wait 0 ms, reuseport off, ports all";
    for system in systems() {
        let binary = system.compile("nothing", "int main(void) { return 0; }", &[]);
        let to_stderr = system
            .program(&binary, &[PRELOAD, ("LIBREUSE_LOG", "debug")])
            .run()
            .succeeded();
        assert!(to_stderr.stderr.contains(REPORT), "{to_stderr:#?}");

        let folder = Folder::new(&format!("large-{system:?}"));
        let path = folder.join("log");
        // Larger than a 32-bit file offset can say; it takes no room on the disk.
        let size = 3 << 30;
        File::create(&path)
            .and_then(|file| file.set_len(size))
            .expect("the folder for temporary files is writable");
        let name = path.to_str().expect("the target folder's path is UTF-8");
        let variables = [
            PRELOAD,
            ("LIBREUSE_LOG", "debug"),
            ("LIBREUSE_LOG_FILE", name),
        ];
        let to_file = system.program(&binary, &variables).run().succeeded();
        assert_eq!(to_file.stderr, "");
        let mut report = String::new();
        let mut file = File::open(&path).expect("the log file");
        file.seek(SeekFrom::Start(size))
            .and_then(|_| file.read_to_string(&mut report))
            .expect("text");
        assert!(report.contains(REPORT), "{system:?} {report:?}");
    }
}
