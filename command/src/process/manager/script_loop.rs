//! Finds whether a script runs a program in a loop, and so restarts it when it exits.

/// Whether a loop of the script names one of these programs, in its body or in its condition, or
/// runs a variable's value as a command, as in `while :; do "$@"; done`. A program that is started
/// outside the loop does not count.
pub(super) fn starts_in_a_loop(script: &str, names: &[&str]) -> bool {
    let mut depth = 0_usize;
    for command in commands(script) {
        let mut words = command
            .split_whitespace()
            .map(|word| word.trim_matches(['"', '\'']))
            .skip_while(|word| matches!(*word, "do" | "then" | "else" | "{" | "!" | "exec"))
            .peekable();
        let Some(mut first) = words.peek().copied() else {
            continue;
        };
        if matches!(first, "while" | "until" | "for" | "loop") {
            depth += 1;
            // A loop's condition is a command that is repeated, too.
            if matches!(first, "for" | "loop") {
                continue;
            }
            words.next();
            while words
                .next_if(|word| matches!(*word, "!" | "exec"))
                .is_some()
            {}
            first = words.peek().copied().unwrap_or_default();
        }
        if matches!(first, "done" | "end") {
            depth = depth.saturating_sub(1);
        } else if depth > 0
            && (first.starts_with('$') || words.any(|word| names.contains(&file_name(word))))
        {
            return true;
        }
    }
    false
}

/// How scripts in Python, Perl, Ruby, Node and the like start a program.
const STARTS: [&str; 8] = [
    "Popen",
    "exec",
    "fork",
    "popen",
    "qx",
    "spawn",
    "subprocess",
    "system",
];

/// How they wait until it has ended: nothing is restarted before.
const WAITS: [&str; 10] = [
    "call(",
    "communicate",
    "exec(",
    "execSync",
    "poll",
    "qx",
    "run(",
    "spawnSync",
    "system",
    "wait",
];

/// Whether a script in such a language starts something within a loop that also waits for it, or
/// when something has ended.
pub(super) fn may_restart(script: &str) -> bool {
    /// So many lines belong to a loop of `for` at most.
    const LONGEST: usize = 20;
    let lines: Vec<&str> = script
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with(['#', '/', '*']))
        .collect();
    let restarts = |lines: &[&str]| {
        let waits = |line: &&str| WAITS.iter().any(|wait| line.contains(wait));
        lines.iter().any(|line| starts_something(line)) && lines.iter().any(waits)
    };
    let on_exit = ["on('exit'", "on(\"exit\"", "on('close'", "on(\"close\""];
    if on_exit.iter().any(|it| script.contains(it)) {
        return lines.iter().any(|line| starts_something(line));
    }
    // A keeper's loop often calls a function that starts it; `for` is for other things as well.
    let words = |line: &str| {
        line.split(|letter: char| !letter.is_alphanumeric())
            .any(|word| matches!(word, "while" | "until" | "loop" | "setInterval"))
    };
    if lines.iter().any(|line| words(line)) {
        return restarts(&lines);
    }
    (0..lines.len()).any(|at| {
        lines[at].starts_with("for") && restarts(&lines[at..lines.len().min(at + LONGEST)])
    })
}

/// Whether a line has a word that begins as a call that starts a program does. `filesystem` and
/// `execute` are none.
fn starts_something(line: &str) -> bool {
    STARTS.iter().any(|start| {
        line.match_indices(start).any(|(at, _)| {
            !line[..at].ends_with(char::is_alphanumeric) && !line[at..].starts_with("execut")
        })
    })
}

/// The last part of a path.
fn file_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// The simple commands of a script, without its comments.
fn commands(script: &str) -> impl Iterator<Item = &str> {
    script
        .lines()
        .map(|line| match line.find(" #") {
            Some(comment) => &line[..comment],
            None if line.starts_with('#') => "",
            None => line,
        })
        .flat_map(|line| line.split([';', '&', '|', '(', ')']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_loop_that_starts_the_program_from_others() {
        for (script, expected) in [
            ("while :; do ./server 80; done", true),
            ("while true\ndo\n  /srv/server\n  sleep 1\ndone", true),
            (
                "until ./server; do sleep 1; done\nwhile :; do exec ./server; done",
                true,
            ),
            ("while :; do \"$@\"; done", true),
            ("for n in 1 2 3; do\n  $COMMAND\ndone", true),
            ("while true; do nohup ./server >log 2>&1; done", true),
            ("while true\n  ./server\nend", true),
            ("until ./server; do sleep 1; done", true),
            ("while ! \"$@\"; do sleep 1; done", true),
            ("until [ -e stop ]; do\n  ./server\ndone", true),
            ("until [ -e stop ]; do sleep 1; done; ./server", false),
            ("for name in server other; do echo $name; done", false),
            ("./server; exit 0", false),
            ("for file in *.conf; do cat $file; done\n./server", false),
            (
                "while [ $# -gt 0 ]; do case \"$1\" in -v) v=1 ;; esac; shift; done\nexec ./server",
                false,
            ),
            ("# while it runs: server\n./server", false),
            ("", false),
        ] {
            assert_eq!(starts_in_a_loop(script, &["server"]), expected, "{script}");
        }
    }

    #[test]
    fn tells_a_script_that_restarts_from_others() {
        for (script, expected) in [
            ("import subprocess\nwhile True: subprocess.run(['x'])", true),
            ("while True:\n  p = Popen(['x'])\n  p.wait()", true),
            (
                "def go():\n  return Popen(['x'])\nwhile True:\n  if go().wait(): break",
                true,
            ),
            ("for (;;) { system('x') }", true),
            ("loop do\n  pid = spawn('x')\n  Process.wait pid\nend", true),
            (
                "const start = () => spawn('x').on('exit', start)\nstart()",
                true,
            ),
            ("import subprocess\nsubprocess.run(['x'])", false),
            (
                "for port in ports: subprocess.Popen(['x'])\nsys.stdin.read()",
                false,
            ),
            ("os.fork()\nwhile True: signal.pause()", false),
            ("while True:\n  time.sleep(1)", false),
            ("while True:\n  filesystem.execute(1)", false),
            ("# while it runs\nos.execv('x', [])", false),
        ] {
            assert_eq!(may_restart(script), expected, "{script}");
        }
    }
}
