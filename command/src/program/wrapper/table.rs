//! Lists the programs that start another: their names, their options, and where the
//! program stands.

/// A program that reads its options up to the first argument that is none, as getopt(3) does with
/// `+`.
pub(super) struct Wrapper {
    /// Its names, with spaces between them.
    pub(super) names: &'static str,
    /// The letters whose value follows.
    pub(super) short: &'static str,
    /// The long options, with an `=` for each value that follows. Any may be cut short, as long as
    /// it is no other's beginning, so all of them are here.
    pub(super) long: &'static str,
    /// How many arguments stand before the program's name.
    pub(super) words: usize,
    /// Whether the program may find other files than we do.
    pub(super) other_files: bool,
}

impl Wrapper {
    const fn new(
        names: &'static str,
        short: &'static str,
        long: &'static str,
        words: usize,
    ) -> Self {
        Self {
            names,
            short,
            long,
            words,
            other_files: false,
        }
    }

    const fn with_other_files(self) -> Self {
        Self {
            other_files: true,
            ..self
        }
    }
}

/// From their manual pages: coreutils 9.7, util-linux 2.41, findutils 4.9, time 1.9, dpkg 1.21,
/// runit 2.1, daemontools 0.76, s6 2.11, tini 0.19, dumb-init 1.2, catatonit 0.1, bubblewrap 0.8,
/// mptcpd 0.11, numactl 2.0 and systemd 252.
#[rustfmt::skip] // A table.
pub(super) const WRAPPERS: &[Wrapper] = &[
    Wrapper::new("env", "uCSa",
        "ignore-environment null unset= chdir= split-string= argv0= block-signal default-signal \
         ignore-signal list-signal-handling debug", 0),
    Wrapper::new("nice", "n", "adjustment=", 0),
    Wrapper::new("nohup", "", "", 0),
    Wrapper::new("timeout", "ks", "kill-after= signal= foreground preserve-status verbose", 1),
    Wrapper::new("setsid", "", "ctty fork wait", 0),
    Wrapper::new("stdbuf", "ioe", "input= output= error=", 0),
    Wrapper::new("ionice", "cnpPu", "class= classdata= pid= pgid= uid= ignore", 0),
    Wrapper::new("taskset", "", "all-tasks cpu-list pid", 1),
    Wrapper::new("chrt", "TPD",
        "sched-runtime= sched-period= sched-deadline= all-tasks batch deadline ext fifo idle max \
         other pid reset-on-fork rr verbose", 1),
    Wrapper::new("time", "fo", "format= output= append portability quiet verbose", 0),
    Wrapper::new("prlimit", "po", "pid= output= noheadings raw verbose", 0),
    Wrapper::new("choom", "np", "adjust= pid=", 0),
    Wrapper::new("setpriv", "",
        "ambient-caps= apparmor-profile= bounding-set= clear-groups dump egid= euid= groups= \
         inh-caps= init-groups keep-groups landlock-access= landlock-rule= list-caps nnp \
         no-new-privs pdeathsig= ptracer= regid= reset-env reuid= rgid= ruid= seccomp-filter= \
         securebits= selinux-label=", 0),
    Wrapper::new("setarch linux32 linux64 i386 i486 i586 i686 x86_64 uname26", "",
        "32bit fdpic-funcptrs short-inode addr-compat-layout addr-no-randomize whole-seconds \
         sticky-timeouts read-implies-exec mmap-page-zero 3gb 4gb uname-2.6 verbose list show \
         pid=", 0),
    Wrapper::new("flock", "wEc",
        "shared exclusive unlock nonblocking nb timeout= wait= conflict-exit-code= close no-fork \
         fcntl command= verbose", 1),
    Wrapper::new("chroot", "", "groups= userspec= skip-chdir", 1),
    Wrapper::new("xargs", "adEILnPs",
        "arg-file= delimiter= eof replace max-lines max-args= max-procs= interactive \
         process-slot-var= max-chars= show-limits exit null no-run-if-empty open-tty verbose", 0),
    Wrapper::new("unshare", "SGRwl",
        "mount uts ipc net pid user cgroup time fork kill-child mount-proc map-user= map-users= \
         map-group= map-groups= map-root-user map-current-user map-auto map-subids propagation= \
         setgroups= keep-caps root= wd= setuid= setgid= monotonic= boottime= load-interp= owner= \
         forward-signals", 0).with_other_files(),
    Wrapper::new("nsenter", "tSGN",
        "all target= mount uts ipc net net-socket= pid cgroup user user-parent time setuid= \
         setgid= preserve-credentials keep-caps root wd wdns= env no-fork join-cgroup \
         follow-context", 0).with_other_files(),
    Wrapper::new("runuser su", "cCgGsuwT",
        "command= session-command= fast group= supp-group= login preserve-environment pty no-pty \
         shell= user= whitelist-environment=", 0),
    Wrapper::new("script", "cEIOBTmo",
        "append command= echo= flush return force log-in= log-out= log-io= log-timing= \
         logging-format= quiet output-limit= timing", 1),
    Wrapper::new("start-stop-daemon", "axpungskrdNPIRcO",
        "start stop status help version exec= startas= pidfile= user= name= signal= umask= chroot= \
         chdir= nicelevel= procsched= iosched= retry= chuid= group= output= pid= ppid= \
         make-pidfile remove-pidfile background no-close notify-await notify-timeout= oknodo quiet \
         test verbose", 0),
    Wrapper::new("tini docker-init", "pe", "version", 0),
    Wrapper::new("catatonit", "", "help version", 0),
    Wrapper::new("dumb-init", "r", "single-child rewrite= verbose help version", 0),
    Wrapper::new("gosu su-exec setuidgid s6-setuidgid envuidgid s6-envuidgid", "", "", 1),
    Wrapper::new("s6-applyuidgid", "ugG", "", 0),
    Wrapper::new("envdir s6-envdir", "", "", 1),
    Wrapper::new("softlimit s6-softlimit", "adfclmoprst", "", 0),
    Wrapper::new("pgrphack s6-setsid", "", "", 0),
    Wrapper::new("setlock s6-setlock", "t", "", 1),
    Wrapper::new("chpst", "uUbe/CnlLmdopfcrt", "", 0),
    Wrapper::new("numactl", "iNmCpPw",
        "interleave= weighted-interleave= preferred= preferred-many= cpunodebind= membind= \
         physcpubind= localalloc all balancing", 0),
    Wrapper::new("cgexec", "g", "sticky", 0),
    Wrapper::new("mptcpize", "", "", 1),
    Wrapper::new("systemd-cat", "tp", "identifier= priority= stderr-priority= level-prefix= \
                                       namespace=", 0),
    Wrapper::new("systemd-inhibit", "", "what= who= why= mode= list no-pager no-legend \
                                         no-ask-password", 0),
    Wrapper::new("dbus-run-session", "", "config-file= dbus-daemon= help version", 0),
    Wrapper::new("aa-exec", "p", "profile= namespace= debug immediate verbose", 0),
    Wrapper::new("bwrap", "",
        "args= argv0= level-prefix unshare-all share-net unshare-user unshare-user-try unshare-ipc \
         unshare-pid unshare-net unshare-uts unshare-cgroup unshare-cgroup-try userns= userns2= \
         disable-userns assert-userns-disabled pidns= uid= gid= hostname= chdir= clearenv setenv== \
         unsetenv= lock-file= sync-fd= bind== bind-try== bind-fd== dev-bind== dev-bind-try== \
         ro-bind== ro-bind-try== ro-bind-fd== remount-ro= overlay-src= overlay=== tmp-overlay= \
         ro-overlay= exec-label= file-label= proc= dev= tmpfs= mqueue= dir= file== bind-data== \
         ro-bind-data== symlink== seccomp= add-seccomp-fd= block-fd= userns-block-fd= info-fd= \
         json-status-fd= new-session die-with-parent as-pid-1 cap-add= cap-drop= perms= size= \
         chmod==", 0).with_other_files(),
];

/// Other programs that are there to start programs, and whose files don't show it: they call `bind`
/// themselves, or load libraries that may. And interpreters whose scripts are not read.
pub(super) const OTHERS: &str = "abduco beam.smp byobu circusd cron crond daemonize dtach elixir \
                                 emacs erl escript expect faketime firejail foreman gawk git \
                                 guile hg honcho iex inetd ip julia make monit nodemon npm npx \
                                 octave parallel perf pm2-runtime R racket Rscript runsv \
                                 runsvdir s6-supervise s6-svscan sbcl screen supervise \
                                 supervisord svscan systemd-socket-activate tmux unbuffer vim \
                                 watch watchexec xinetd yarn";
