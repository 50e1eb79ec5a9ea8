"""One scene of what scripts/demo tells: LIBRARY PORT SCENE [LD_PRELOAD] [VARIABLE=VALUE].

Ends with 0 if the scene went as it should: with LD_PRELOAD the cure shows, and without it the trouble.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

DRIFTER = """
import socket, sys
listener, port = socket.socket(), int(sys.argv[1])
while True:
    try:
        listener.bind(('127.0.0.1', port))
        break
    except OSError:
        port += 1
listener.listen()
print('listening on', port, flush=True)
while True:
    accepted, _ = listener.accept()
    if accepted.recv(100):
        accepted.sendall(b'hello')
    accepted.close()
"""

SOCKETSERVER = """
import socketserver, sys
class Hello(socketserver.StreamRequestHandler):
    def handle(self):
        if self.rfile.readline():
            self.wfile.write(b'hello')
port = int(sys.argv[1])
with socketserver.ThreadingTCPServer(('127.0.0.1', port), Hello) as server:
    print('listening on', port, flush=True)
    server.serve_forever()
"""

TIME_WAIT = 6  # include/net/tcp_states.h


class Server:
    """A server process, shown as somebody at a terminal would see it."""

    def __init__(self, program, name, port, settings):
        shown = [f"{variable}={os.path.basename(value)}" for variable, value in settings.items()]
        print("     $", *shown, f"./{name}")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", program, str(port)],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = self.process.stdout.readline().strip()
        if not self.said:
            self.said = self.process.stderr.read().strip().splitlines()[-1]
        print("      ", self.said)

    def crash(self):
        """Ends it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def serve(port, clients):
    """Connects so many clients, one after the other, each with its question; the server closes each of them first."""
    for _ in range(clients):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"who is there?\n")
            answer = b""
            while part := client.recv(100):
                answer += part
            if answer != b"hello":
                sys.exit(f"demo: the server answered {answer}")


def time_wait(port, expected):
    """How many connections of this port are in TIME_WAIT, as soon as there are as many as expected."""
    deadline = time.monotonic() + 10
    while True:
        rows = [row.split() for row in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        count = sum(int(row[1].split(":")[1], 16) == port and int(row[3], 16) == TIME_WAIT for row in rows)
        if count == expected or time.monotonic() > deadline:
            return count
        time.sleep(0.01)


def restart(program, name, port, settings):
    """Runs the server, crashes it after it has served somebody, and returns what it says the second time."""
    server = Server(program, name, port, settings)
    serve(port, clients=1)
    left = time_wait(port, expected=1)
    server.crash()
    print(f"       ... serves a client and crashes, leaving {left} connection in TIME_WAIT ...")
    again = Server(program, name, port, settings)
    again.crash()
    return again.said


def drift(port, settings):
    """The program takes the next port, or its own."""
    said = restart(DRIFTER, "legacy-server", port, settings)
    return said == f"listening on {port if settings else port + 1}"


def socketserver(port, settings):
    """The program fails, or listens."""
    said = restart(SOCKETSERVER, "socketserver-example", port, settings)
    return said == f"listening on {port}" if settings else "Address already in use" in said


def burst(port, settings):
    """The connections stay in TIME_WAIT, or none does."""
    server = Server(DRIFTER, "busy-server", port, settings)
    serve(port, clients=200)
    graceful = settings["LIBREUSE_LINGER"] == "graceful"
    left = time_wait(port, expected=0 if graceful else 200)
    server.crash()
    print(f"       ... serves 200 clients; connections left in TIME_WAIT: {left}")
    return (left == 0) == graceful


def main():
    """Plays the scene that the arguments name."""
    library, port, scene, *words = sys.argv[1:]
    settings = dict(word.split("=") if "=" in word else (word, library) for word in words)
    play = {"drift": drift, "socketserver": socketserver, "burst": burst}[scene]
    if not play(int(port), settings):
        sys.exit("demo: this is not what should have happened")


if __name__ == "__main__":
    main()
