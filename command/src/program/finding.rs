//! The findings about a program or a process: those that decide on its engine, and those that
//! should be known of it. The words are in `explain`.

use crate::process::credentials::Gain;
use std::path::PathBuf;

/// One thing that was found.
#[derive(Debug)]
pub(crate) enum Finding {
    Problem(Problem),
    Hopeless(Hopeless),
    Untraceable(Untraceable),
    Note(Note),
}

/// A reason why the library does not get into a program, or does not get its calls.
#[derive(Debug)]
pub(crate) enum Problem {
    Go {
        program: String,
    },
    Static {
        program: String,
    },
    /// The library is neither installed nor carried.
    NoLibrary,
    NoLibraryOfItsKind {
        program: String,
        kind: String,
        there: String,
    },
    OtherLinker {
        program: String,
        linker: PathBuf,
    },
    /// The kernel calls it more trusted than its caller (`AT_SECURE`).
    Privileged {
        program: String,
        gain: Gain,
    },
    /// SELinux starts it in a domain of its own, with `AT_SECURE`.
    SecureDomain {
        program: String,
        domain: String,
        rule: String,
    },
    /// There is no place for the library that the command carries: that is to be mended, and not to
    /// be got around.
    NoPlace(String),
    /// The dynamic linker's own answer.
    LeftOut {
        complaint: String,
    },
    LinkerFails {
        linker: PathBuf,
        error: String,
    },
    ShebangDropsLibrary {
        script: PathBuf,
    },
    ScriptDropsLibrary {
        script: PathBuf,
        line: String,
    },
    WrapperDropsLibrary {
        wrapper: String,
    },
    NotInRoot {
        program: String,
        root: PathBuf,
    },
    /// `LIBREUSE_PROGRAMS` does not list this process.
    NotChosen,
    /// The process was started without a tracer.
    StaticAndUntraced,
    /// The process's LD_PRELOAD.
    NotLoaded {
        given: Option<String>,
    },
    /// A listener of the process does not carry the option, though the library is mapped.
    ListenerPastLibrary {
        local: String,
        port: u16,
    },
}

/// A reason why no engine works.
#[derive(Debug)]
pub(crate) enum Hopeless {
    /// It can't be read or executed.
    NoProgram(String),
    /// The dynamic linker that it asks for is not there.
    NoLinker { program: String, linker: PathBuf },
    /// It starts others without LD_PRELOAD, whatever its arguments are.
    DropsLibrary { wrapper: String },
    /// It has another process start them.
    StartedElsewhere { wrapper: String },
}

/// A reason against a tracer.
#[derive(Debug)]
pub(crate) enum Untraceable {
    UnknownMachine {
        program: String,
        kind: String,
    },
    /// A traced program would lose its privileges.
    LosesPrivileges {
        program: String,
    },
    /// It traces, or starts containers: traced only if asked for.
    Exempt(String),
    /// systemd would start it in another domain through `run`.
    OtherDomainByInit {
        program: String,
        domain: String,
    },
    ForbiddenDomain {
        program: String,
        domain: String,
    },
}

/// A note for the user.
#[derive(Debug)]
pub(crate) enum Note {
    NoShebang {
        script: PathBuf,
    },
    Script {
        script: PathBuf,
        interpreter: PathBuf,
    },
    /// A script's last line that starts another program.
    Wraps {
        line: String,
    },
    Starts {
        wrapper: String,
        program: PathBuf,
    },
    StartsUnknown {
        wrapper: String,
        program: String,
    },
    /// A script of an interpreter's that speaks of starting programs.
    MayStart {
        interpreter: String,
    },
    /// A process that runs already starts it.
    StartsElsewhere {
        wrapper: String,
    },
    Unreadable(String),
    AddressSanitizer {
        program: String,
    },
    /// /etc/ld.so.preload names the library.
    SystemWide {
        entry: PathBuf,
    },
    Carried {
        file: PathBuf,
    },
    UnknownDomain {
        program: String,
    },
    /// The hooked functions that the program and its libraries call.
    Calls(Vec<String>),
    /// None of them calls `bind`.
    NoBind(Reach),
    MaySetOption,
    NeverSetsOption,
    /// The process has mapped the library.
    Mapped {
        file: String,
    },
    /// BPF programs serve the process, attached at this control group.
    Attached {
        group: String,
    },
    NoVariables,
    Variable {
        name: String,
        value: String,
    },
    WrongVariable(String),
    SocketsUnreadable(String),
    /// The process's listeners carry the option, and no engine is at work in it.
    ListenersCarryOption,
}

/// How a program comes to libc's `bind`, which the library is in front of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Reach {
    /// Not looked for.
    #[default]
    Unknown,
    /// The program calls it, or a library with that purpose.
    Calls,
    /// Only a library calls it, for purposes of its own.
    ByLibrary(String),
    /// Libraries that it loads later may call it.
    ByLoading,
    /// Only a program that it starts may call it.
    ByStarting,
    /// Libraries that it loads later may call it, and the program makes system calls without libc.
    ByItself,
    /// Never: if it binds a port, it does so without libc.
    InNoWay,
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Hopeless> for Finding {
    fn from(hopeless: Hopeless) -> Self {
        Self::Hopeless(hopeless)
    }
}

impl From<Untraceable> for Finding {
    fn from(untraceable: Untraceable) -> Self {
        Self::Untraceable(untraceable)
    }
}

impl From<Note> for Finding {
    fn from(note: Note) -> Self {
        Self::Note(note)
    }
}
