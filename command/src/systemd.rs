//! Drop-ins: what makes systemd preload the library into a service, without a change to the unit's own file.

use super::check::{self, Credentials};
use super::exit;
use super::library::Libraries;
use super::output;
use super::run;
use super::variables::Variables;
use anyhow::{Context, Result, bail};
use log::debug;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Print, install or remove the drop-in that preloads the library into a service
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("action"))]
pub(super) struct Arguments {
    /// Write the drop-in where systemd finds it
    #[arg(long, group = "action")]
    install: bool,

    /// Remove the drop-in that --install wrote
    #[arg(long, group = "action")]
    remove: bool,

    /// A unit of the user's own manager
    #[arg(long)]
    user: bool,

    /// The library, if it is not beside this command or in a usual place
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,

    #[command(flatten)]
    variables: Variables,

    /// The service: `myd`, `myd.service`, `myd@.service` for all instances of a template
    #[arg(value_name = "UNIT")]
    unit: String,
}

impl Arguments {
    /// The command line that writes what this one prints.
    fn to_install(&self, unit: &str) -> Result<String> {
        let mut words: Vec<String> = if self.user {
            ["reuseaddr", "systemd", "--user", "--install"]
        } else {
            ["sudo", "reuseaddr", "systemd", "--install"]
        }
        .map(str::to_owned)
        .to_vec();
        if let Some(library) = &self.library {
            let library = std::path::absolute(library)?;
            words.extend(["--library".into(), library.display().to_string()]);
        }
        for (option, value) in self.variables.options() {
            words.extend([option, value.to_string_lossy().into_owned()]);
        }
        words.push(unit.into());
        Ok(shell_words::join(words))
    }
}

const FILE: &str = "50-libreuse.conf";
const FIRST_LINE: &str =
    "# Written by `reuseaddr systemd`; remove it with `reuseaddr systemd --remove UNIT`.";

/// Answers `reuseaddr systemd`.
pub(super) fn run(arguments: &Arguments) -> Result<u8> {
    let unit = service(&arguments.unit)?;
    let folder = folder(arguments.user)?.join(format!("{unit}.d"));
    let file = folder.join(FILE);
    let user = if arguments.user { " --user" } else { "" };
    let shown = shell_words::quote(&unit);
    let restart = format!("    systemctl{user} daemon-reload\n    systemctl{user} restart {shown}");
    if arguments.remove {
        remove(&folder, &file)?;
        output::tell(&format!("{} is removed. Now:\n{restart}", file.display()));
        return Ok(exit::YES);
    }

    let (_, mistakes) = arguments.variables.read(std::iter::empty());
    if !mistakes.is_empty() {
        bail!("{}", mistakes.join("\n"));
    }
    let libraries = Libraries::find(arguments.library.as_deref())?;
    let properties = Properties::ask(&unit, arguments.user);
    let reports = properties
        .as_ref()
        .map(|properties| properties.reports(&libraries, arguments.user))
        .unwrap_or_default();
    match &properties {
        Some(properties) => {
            let mut files: BTreeSet<&Path> = reports
                .iter()
                .filter_map(|report| report.library.as_deref())
                .collect();
            if files.is_empty() {
                files.insert(&libraries.first.path);
            }
            let warnings: BTreeSet<String> = files
                .into_iter()
                .flat_map(|file| properties.warnings(file))
                .collect();
            let overridden = properties.overridden(&arguments.variables);
            for warning in warnings.iter().chain(&overridden) {
                output::warn(warning);
            }
            for problem in reports.iter().flat_map(check::Report::problems) {
                output::warn(&format!("ExecStart: {problem}"));
            }
        }
        None => output::warn(&format!(
            "systemd could not be asked about {unit}, so whether its settings defeat the library is not known"
        )),
    }
    let before = properties
        .as_ref()
        .and_then(Properties::preloaded)
        .unwrap_or_default();
    let works_in_none = !reports.is_empty() && !reports.iter().any(check::Report::is_good);
    if arguments.install && works_in_none {
        bail!(
            "the library works in nothing that {unit} starts, so nothing was written; without --install the drop-in is \
             printed all the same"
        );
    }
    let mut preloads = reports.into_iter().filter_map(|report| report.preload);
    let library = preloads.next().unwrap_or(libraries.first.path);
    if let Some(other) = preloads.find(|other| *other != library) {
        output::warn(&format!(
            "ExecStart starts programs of two kinds: {} is for the first, and the other would need {}",
            library.display(),
            other.display()
        ));
    }
    let text = drop_in(&library, &before, &arguments.variables)?;
    if arguments.install {
        install(&folder, &file, &text)?;
        output::tell(&format!("{} is written. Now:\n{restart}", file.display()));
    } else {
        output::print(&text)?;
        output::tell(&format!(
            "This would be {}. To write it:\n    {}",
            file.display(),
            arguments.to_install(&unit)?,
        ));
    }
    Ok(exit::YES)
}

/// The full name of a service, if it can be one (systemd.unit(5)).
fn service(name: &str) -> Result<String> {
    const LONGEST: usize = 255;
    let full = match name.rsplit_once('.') {
        Some((_, "service")) => name.to_owned(),
        Some((_, "socket")) => bail!(
            "{name} is a socket unit: systemd binds the port once and sets SO_REUSEADDR itself, so neither it nor its \
             service needs the library"
        ),
        Some((
            _,
            kind @ ("timer" | "target" | "mount" | "path" | "slice" | "scope" | "device" | "swap"
            | "automount"),
        )) => {
            bail!("{name} is a {kind} unit and starts no program; name the service")
        }
        _ => format!("{name}.service"),
    };
    let legal = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    let prefix = full.strip_suffix(".service").unwrap_or_default();
    if prefix.is_empty()
        || prefix.starts_with('@')
        || full.len() > LONGEST
        || !full.chars().all(legal)
    {
        bail!(
            "{} can't be the name of a unit; `systemctl list-units --type=service` shows those there are, and \
             `systemd-escape` spells odd ones",
            output::readable(name.as_bytes())
        );
    }
    Ok(full)
}

/// Where drop-ins are looked for first.
fn folder(user: bool) -> Result<PathBuf> {
    if !user {
        return Ok(PathBuf::from("/etc/systemd/system"));
    }
    let configuration = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")))
        .context(
            "neither XDG_CONFIG_HOME nor HOME is set, so there is no folder for units of the user",
        )?;
    Ok(configuration.join("systemd/user"))
}

/// The drop-in's text.
fn drop_in(library: &Path, before: &str, variables: &Variables) -> Result<String> {
    let preload = run::preload(library, OsStr::new(before));
    let mut text = format!(
        "{FIRST_LINE}\n[Service]\n{}\n",
        assignment("LD_PRELOAD", &preload)?
    );
    for (name, value) in variables.iter() {
        text += &format!("{}\n", assignment(name, value)?);
    }
    Ok(text)
}

/// An `Environment=` line that systemd reads as this (systemd.syntax(7), systemd.unit(5) on specifiers).
fn assignment(name: &str, value: &OsStr) -> Result<String> {
    let value = value
        .to_str()
        .with_context(|| format!("{name} is not UTF-8, which systemd wants it to be"))?;
    let mut quoted = String::new();
    for letter in value.chars() {
        match letter {
            '\\' | '"' => quoted.extend(['\\', letter]),
            '%' => quoted.push_str("%%"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            other if other.is_control() => {
                bail!("{name} has a control character in it, which systemd does not take")
            }
            other => quoted.push(other),
        }
    }
    Ok(format!("Environment=\"{name}={quoted}\""))
}

fn install(folder: &Path, file: &Path, text: &str) -> Result<()> {
    let cannot = || {
        format!(
            "{} can't be written; as root: `sudo reuseaddr systemd --install …`",
            file.display()
        )
    };
    if file.exists() {
        ours(file)?;
    }
    fs::create_dir_all(folder).with_context(cannot)?;
    // In one step, so that systemd never reads half of it.
    let temporary = folder.join(format!(".{FILE}.{}", std::process::id()));
    fs::write(&temporary, text).with_context(cannot)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o644)).with_context(cannot)?;
    fs::rename(&temporary, file).with_context(cannot)
}

fn remove(folder: &Path, file: &Path) -> Result<()> {
    if !file.exists() {
        bail!(
            "there is no {}; `systemctl cat UNIT` shows the drop-ins that a unit has",
            file.display()
        );
    }
    ours(file)?;
    fs::remove_file(file).with_context(|| {
        format!(
            "{} can't be removed; as root: `sudo reuseaddr systemd --remove …`",
            file.display()
        )
    })?;
    // Other drop-ins may be there, which are not ours.
    if let Err(error) = fs::remove_dir(folder) {
        debug!("{} stays: {error}", folder.display());
    }
    Ok(())
}

/// Refuses a file that somebody else wrote.
fn ours(file: &Path) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    if !text.starts_with(FIRST_LINE) {
        bail!(
            "{} was not written by this command, and is left alone; see to it yourself",
            file.display()
        );
    }
    Ok(())
}

/// A unit's settings, as its manager has them.
#[derive(Debug)]
struct Properties(HashMap<String, String>);

impl Properties {
    /// Asks systemd; `None` if it can't be asked, as where it does not run.
    fn ask(unit: &str, user: bool) -> Option<Self> {
        // A template has no settings before there is an instance.
        let unit = unit.replace("@.service", "@reuseaddr.service");
        let mut command = Command::new("systemctl");
        if user {
            command.arg("--user");
        }
        let output = command
            .args(["show", "--no-pager", "--", &unit])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        debug!("systemctl show: {}, {} bytes", output.status, text.len());
        (output.status.success() && !text.is_empty()).then(|| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let mut properties = HashMap::<String, String>::new();
        for (name, value) in pairs {
            // A list may come as several lines.
            let all = properties.entry(name.to_owned()).or_default();
            if !all.is_empty() && !value.is_empty() {
                all.push(' ');
            }
            all.push_str(value);
        }
        Self(properties)
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// What the unit preloads already.
    fn preloaded(&self) -> Option<String> {
        let words = words(self.get("Environment"));
        let found = words
            .iter()
            .rev()
            .find_map(|word| word.strip_prefix("LD_PRELOAD="));
        found.map(str::to_owned)
    }

    /// Everything about the unit that defeats the library, or makes it needless.
    fn warnings(&self, path: &Path) -> Vec<String> {
        let mut warnings = Vec::new();
        let shown = path.display();
        if self.get("LoadState") == "not-found" {
            warnings.push(
                "systemd has no such unit yet; the drop-in will hold once there is one".into(),
            );
        }
        for name in ["RootDirectory", "RootImage"] {
            let root = self.get(name);
            if !root.is_empty() && root != "/" {
                warnings.push(format!(
                    "{name}={root}: {shown} has to be there inside as well, by the same path"
                ));
            }
        }
        let home = self.get("ProtectHome");
        let at_home = ["/home", "/root", "/run/user"]
            .iter()
            .any(|home| path.starts_with(home));
        if at_home && ["yes", "tmpfs"].contains(&home) {
            warnings.push(format!(
                "ProtectHome={home} hides {shown}: install the library in /usr/local/lib"
            ));
        }
        if self.get("PrivateTmp") == "yes"
            && (path.starts_with("/tmp") || path.starts_with("/var/tmp"))
        {
            warnings.push(format!(
                "PrivateTmp=yes hides {shown}: install the library in /usr/local/lib"
            ));
        }
        for name in ["InaccessiblePaths", "TemporaryFileSystem"] {
            let hidden = words(self.get(name)).into_iter().any(|entry| {
                path.starts_with(
                    entry
                        .trim_start_matches(['-', '+'])
                        .split(':')
                        .next()
                        .unwrap_or_default(),
                )
            });
            if hidden {
                warnings.push(format!(
                    "{name}= hides {shown}: install the library in /usr/local/lib"
                ));
            }
        }
        // The longest entry decides, as systemd has it.
        let depth = |name| {
            words(self.get(name))
                .into_iter()
                .map(|entry| PathBuf::from(entry.trim_start_matches(['-', '+'])))
                .filter(|entry| path.starts_with(entry))
                .map(|entry| entry.components().count())
                .max()
        };
        if depth("NoExecPaths") > depth("ExecPaths") {
            warnings.push(format!(
                "NoExecPaths= keeps {shown} from being loaded: add ExecPaths={shown}"
            ));
        }
        let user = self.get("User");
        if (!user.is_empty() && user != "root" || self.get("DynamicUser") == "yes")
            && !readable_by_all(path)
        {
            warnings.push(format!("User={user} may not be able to read {shown}: make it and its folders readable by all"));
        }
        if words(self.get("UnsetEnvironment"))
            .iter()
            .any(|entry| entry == "LD_PRELOAD" || entry.starts_with("LD_PRELOAD="))
        {
            warnings.push("UnsetEnvironment= takes LD_PRELOAD away again".into());
        }
        for entry in words(self.get("EnvironmentFiles")) {
            let sets = fs::read_to_string(&entry).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.trim_start().starts_with("LD_PRELOAD="))
            });
            if sets {
                warnings.push(format!(
                    "{entry} sets LD_PRELOAD, which counts instead: add {shown} there"
                ));
            }
        }
        if !self
            .get("TriggeredBy")
            .split(' ')
            .all(|unit| !unit.ends_with(".socket"))
        {
            warnings.push(format!(
                "{} binds the port for it and keeps it: the library is needed only for what the service binds by itself",
                self.get("TriggeredBy")
            ));
        }
        warnings
    }

    /// The drop-ins that systemd reads after ours, and that take away again what ours sets.
    fn overridden(&self, variables: &Variables) -> Vec<String> {
        let mut warnings = Vec::new();
        for path in words(self.get("DropInPaths")).iter().map(Path::new) {
            if path.file_name().is_none_or(|name| name <= OsStr::new(FILE)) {
                continue;
            }
            let text = fs::read_to_string(path).unwrap_or_default();
            let shown = path.display();
            for value in text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Environment="))
            {
                if value.is_empty() {
                    warnings.push(format!(
                        "{shown} comes after {FILE} and empties Environment=, and LD_PRELOAD with it: rename it"
                    ));
                }
                for word in words(value) {
                    let name = word.split('=').next().unwrap_or_default();
                    if name == "LD_PRELOAD" || variables.iter().any(|(ours, _)| ours == name) {
                        warnings.push(format!(
                            "{shown} comes after {FILE} and sets {name}, which counts instead: take it out there"
                        ));
                    }
                }
            }
        }
        warnings
    }

    /// What the unit starts: programs and their arguments, of `{ path=/bin/x ; argv[]=/bin/x -a ; ignore_errors=no ; …`.
    fn started(&self) -> Vec<(PathBuf, Vec<OsString>)> {
        let commands = self.get("ExecStart").split("{ path=").skip(1);
        commands
            .filter_map(|command| {
                let (path, rest) = command.split_once(" ; argv[]=")?;
                let (argv, _) = rest.split_once(" ; ignore_errors=")?;
                let arguments = argv.split_whitespace().skip(1).map(OsString::from);
                Some((PathBuf::from(path), arguments.collect()))
            })
            .filter(|(path, _)| path.is_absolute())
            .collect()
    }

    /// Whether the library works in what the unit starts, as far as that is to be seen from here.
    fn reports(&self, libraries: &Libraries, of_user: bool) -> Vec<check::Report> {
        if !self.get("RootDirectory").is_empty() || !self.get("RootImage").is_empty() {
            return Vec::new();
        }
        let user = self.get("User");
        let no_new_privileges = self.get("NoNewPrivileges") == "yes";
        let who = if of_user {
            Credentials {
                no_new_privileges,
                ..Credentials::own()
            }
        } else {
            let id = match (user, self.get("DynamicUser")) {
                ("", "yes") => u32::MAX,
                ("", _) => 0,
                (user, _) => Credentials::id(OsStr::new(user)),
            };
            Credentials {
                uid: id,
                gid: id,
                no_new_privileges,
            }
        };
        self.started()
            .iter()
            .map(|(path, arguments)| check::program(path, arguments, libraries, who))
            .collect()
    }
}

/// The words of a list, which may be quoted and escaped as in a shell.
fn words(list: &str) -> Vec<String> {
    shell_words::split(list)
        .unwrap_or_else(|_| list.split_whitespace().map(str::to_owned).collect())
}

/// Whether everybody may read a file: its own permissions, and those of its folders.
fn readable_by_all(path: &Path) -> bool {
    const READ: u32 = 0o004;
    const SEARCH: u32 = 0o001;
    let allows = |path: &Path, bit: u32| {
        path.metadata()
            .is_ok_and(|metadata| metadata.permissions().mode() & bit != 0)
    };
    allows(path, READ)
        && path
            .ancestors()
            .skip(1)
            .all(|folder| folder.as_os_str().is_empty() || allows(folder, SEARCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn spells_unit_names() {
        for (name, expected) in [
            ("myd", "myd.service"),
            ("myd.service", "myd.service"),
            ("my.d", "my.d.service"),
            ("myd@", "myd@.service"),
            ("myd@a.service", "myd@a.service"),
            (r"dev\x2dmyd", r"dev\x2dmyd.service"),
        ] {
            assert_eq!(service(name).unwrap(), expected);
        }
        for name in [
            "",
            ".service",
            "@.service",
            "a/b",
            "../etc/passwd",
            "a b",
            "a\nb",
            "ü",
            "myd.socket",
            "my.timer",
        ] {
            assert!(service(name).is_err(), "{name}");
        }
        assert!(service(&"x".repeat(300)).is_err());
    }

    #[test]
    fn quotes_for_systemd() {
        for (value, expected) in [
            (
                "/usr/lib/libreuse.so",
                r#"Environment="A=/usr/lib/libreuse.so""#,
            ),
            ("/var/log/%p.log", r#"Environment="A=/var/log/%%p.log""#),
            (r#"a "b" \c"#, r#"Environment="A=a \"b\" \\c""#),
            ("a\nb", r#"Environment="A=a\nb""#),
        ] {
            assert_eq!(assignment("A", OsStr::new(value)).unwrap(), expected);
        }
        assert!(assignment("A", OsStr::new("\x07")).is_err());
        assert!(assignment("A", OsStr::from_bytes(b"\xff")).is_err());
    }

    #[test]
    fn reads_lists() {
        assert_eq!(
            words(r#"A=b "C=d e" F="g h" "i\"j" ''"#),
            ["A=b", "C=d e", "F=g h", "i\"j", ""]
        );
        assert!(words("  ").is_empty());
    }

    #[test]
    fn finds_what_is_started() {
        let properties = Properties::parse(
            "ExecStart={ path=/usr/bin/app ; argv[]=/usr/bin/app --db.path=/var/lib/x ; ignore_errors=no ; pid=0 }\n\
             ExecStart={ path=/bin/env ; argv[]=/bin/env -i y ; ignore_errors=no ; start_time=[n/a] ; pid=0 }\n",
        );
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            properties.started(),
            [
                ("/usr/bin/app".into(), words(&["--db.path=/var/lib/x"])),
                ("/bin/env".into(), words(&["-i", "y"])),
            ]
        );
    }

    #[test]
    fn finds_what_is_preloaded_already() {
        let properties = Properties::parse("Id=x\nEnvironment=A=b LD_PRELOAD=/a.so:/b.so\n");
        assert_eq!(properties.preloaded().as_deref(), Some("/a.so:/b.so"));
    }
}
