//! The program that is run twice: a server on raw sockets that does what it is told, and knows
//! nothing of the shim.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use support::{Program, Running, TcpState, wait_for};

/// The port that the servers want. Each test has a network of its own.
pub(crate) const PORT: u16 = 5000;

/// A server, and how it goes about things.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) program: Program,
    /// Where clients reach it.
    host: String,
}

const TEXT: &str = r"
family, protocol, host, after_socket, after_bind, after_listen, after_accept = sys.argv[1:]
listener = socket.socket(getattr(socket, family), socket.SOCK_STREAM, int(protocol))
exec(after_socket)
try:
    if host != 'unbound':
        listener.bind((host, 5000))
    exec(after_bind)
    listener.listen(128)
    exec(after_listen)
except OSError as error:
    print(errno.errorcode[error.errno])
    sys.exit()
print('listening')
accepted = []
for line in sys.stdin:
    match line.split():
        case ['accept']:
            accepted.append(listener.accept()[0])
            exec(after_accept)
            print('accepted')
        case ['echo']:
            accepted[-1].sendall(accepted[-1].recv(100))
        case ['fill']:
            accepted[-1].setblocking(False)
            try:
                while True:
                    accepted[-1].send(bytes(65536))
            except BlockingIOError:
                print('filled')
        case ['close']:
            accepted.pop().close()
            print('closed')
        case ['leave', 'child']:
            if os.fork() == 0:
                listener.close()
                # Until the client goes, or the test does.
                accepted[-1].recv(1)
                os._exit(0)
            print('left')
        case ['stop', 'listening']:
            listener.close()
            print('stopped')
        case ['run', *code]:
            exec(' '.join(code))
";

impl Server {
    pub(crate) fn new() -> Self {
        Self::at("AF_INET", "127.0.0.1", "127.0.0.1")
    }

    /// A server bound to `host`, which clients reach at `reached_at`.
    pub(crate) fn at(family: &str, host: &str, reached_at: &str) -> Self {
        let program = Program::python(TEXT).arguments([family, "0", host, "", "", "", ""]);
        Self {
            program,
            host: reached_at.into(),
        }
    }

    pub(crate) fn with_protocol(self, number: &str) -> Self {
        self.with_argument(1, number)
    }

    /// Python that it runs at some point, with `listener` and `accepted` at hand.
    pub(crate) fn after(self, point: &str, code: &str) -> Self {
        let position = ["socket", "bind", "listen", "accept"]
            .iter()
            .position(|&name| name == point)
            .unwrap_or_else(|| panic!("there is no point {point}"));
        self.with_argument(3 + position, code)
    }

    fn with_argument(mut self, position: usize, value: &str) -> Self {
        self.program = self.program.replacing_argument(position + 3, value);
        self
    }

    pub(crate) fn shimmed(self) -> Self {
        self.shimmed_if(true)
    }

    pub(crate) fn shimmed_if(mut self, shimmed: bool) -> Self {
        self.program = self.program.shimmed_if(shimmed);
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.program = self.program.with(name, value);
        self
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn listening(&self) -> Running {
        let mut running = self.program.start();
        running.expect("listening");
        running
    }

    pub(crate) fn client(&self) -> TcpStream {
        TcpStream::connect((self.host.as_str(), PORT)).expect("the server listens")
    }

    /// Starts it, serves one connection and says whether that went well: `listening`, or the error.
    pub(crate) fn outcome(&self) -> String {
        let mut running = self.program.start();
        let line = running.line();
        if line == "listening" {
            let mut client = self.client();
            running.say("accept").expect("accepted");
            client.write_all(b"hello").expect("the server is there");
            running.say("echo");
            let mut answer = [0; 5];
            client.read_exact(&mut answer).expect("the server answers");
            assert_eq!(&answer, b"hello");
        }
        line
    }

    /// Runs it once, up to a crash that leaves one connection in this state. What it returns keeps
    /// it there.
    pub(crate) fn leave_behind(&self, state: TcpState) -> TcpStream {
        let mut server = self.listening();
        let client = self.client();
        server.say("accept").expect("accepted");
        match state {
            TcpState::TimeWait => {
                // Only once the acknowledgement is here, which the client's FIN may overtake (see
                // own_network).
                server.say("close").expect("closed");
                wait_for(PORT, TcpState::FinWait2, 1);
                client
                    .shutdown(Shutdown::Write)
                    .expect("the connection is there");
                wait_for(PORT, TcpState::TimeWait, 1);
            }
            TcpState::FinWait2 => {}
            TcpState::FinWait1 => {
                server.say("fill").expect("filled");
            }
            TcpState::LastAck => {
                client
                    .shutdown(Shutdown::Write)
                    .expect("the connection is there");
                wait_for(PORT, TcpState::CloseWait, 1);
                server.say("fill").expect("filled");
            }
            TcpState::Established => {
                server.say("leave child").expect("left");
            }
            _ => panic!("no way to {state:?} is known"),
        }
        server.kill();
        wait_for(PORT, state, 1);
        // A child may not have closed it yet.
        wait_for(PORT, TcpState::Listen, 0);
        client
    }
}
