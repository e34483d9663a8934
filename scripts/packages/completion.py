"""Types into bash in a root, as a person does in a terminal, and waits for what Tab completes."""

import os, pty, select, sys, time

child, terminal = pty.fork()
if child == 0:
    os.chroot(sys.argv[1])
    os.chdir("/root")
    os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"],
              {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TERM": "dumb", "PS1": "ready> "})
shown = ""

def expect(text):
    global shown
    end = time.monotonic() + 30
    while text not in shown:
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit(f"no {text!r} in {shown!r}")
        shown += os.read(terminal, 4096).decode()
    shown = shown.split(text, 1)[1]

def keys(text):
    os.write(terminal, text.encode())

expect("ready> ")
keys("source /usr/share/bash-completion/bash_completion\n")
expect("ready> ")
keys("conniver prox\t")
expect("conniver proxy ")
keys("--detail br\t")
expect("--detail brief ")
keys("--max-con\t")
expect("--max-connections ")
# Hangs up.
os.close(terminal)
