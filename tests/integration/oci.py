"""Containers of runc, from bundles made by hand: the host's programs under an overlay, with namespaces and a control
group of their own, as container managers ask for them."""

import glob
import json
import os
import shutil
import subprocess
import tempfile

from harness import PREFIX, Skip, check, need_program

NAMESPACES = ("pid", "mount", "ipc", "uts", "network")
MOUNTS = (("/proc", "proc", []), ("/dev", "tmpfs", ["nosuid", "mode=755"]),
          ("/dev/shm", "tmpfs", ["nosuid", "nodev", "mode=1777"]),
          ("/run", "tmpfs", ["nosuid", "nodev", "mode=755"]), ("/tmp", "tmpfs", ["nosuid", "nodev", "mode=1777"]))
RIGHTS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
N_USERS = 65536


class Container:
    """`network`: the process whose network it joins. `users`: the first of the ids of this host that are its own. Ended
    and removed with the context."""

    def __init__(self, context, network=None, users=None):
        self.runc = need_program("runc")
        self.id, self.users = os.urandom(32).hex(), users
        self.group = f"/libpod-{self.id}"
        self.uid = self.gid = 0
        # Not below the run's own directory, which who is root in it cannot enter.
        self.directory = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-oci-")
        context.stack.callback(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o711)
        self.spec = self._spec(network)
        self._mount_root(context.stack)
        context.stack.callback(self._delete)

    def _mount_root(self, stack):
        """What is written goes to a tmpfs, which takes it also where this host's root is an overlay itself."""
        upper, root = (os.path.join(self.directory, part) for part in ("upper", "root"))
        for path, kind, options in ((upper, "tmpfs", "mode=755"), (root, "overlay", f"lowerdir=/,upperdir={upper}/data,"
                                                                   f"workdir={upper}/work")):
            os.mkdir(path)
            subprocess.run(["mount", "-t", kind, "-o", options, kind, path], check=True, capture_output=True,
                           text=True)
            stack.callback(subprocess.run, ["umount", path], check=True)
            if kind == "tmpfs":
                os.mkdir(f"{upper}/data")
                os.mkdir(f"{upper}/work")

    def _spec(self, network):
        namespaces = [{"type": kind} for kind in NAMESPACES]
        if network:
            namespaces[-1]["path"] = f"/proc/{network}/ns/net"
        linux = {"cgroupsPath": self.group, "namespaces": namespaces}
        if self.users:
            namespaces.append({"type": "user"})
            ids = [{"containerID": 0, "hostID": self.users, "size": N_USERS}]
            linux.update(uidMappings=ids, gidMappings=ids)
        mounts = [{"destination": to, "type": kind, "source": kind, "options": options} for to, kind, options in MOUNTS]
        rights = {kind: RIGHTS for kind in ("bounding", "effective", "permitted")}
        return {"ociVersion": "1.0.2", "hostname": "container", "root": {"path": "root"}, "mounts": mounts,
                "linux": linux, "process": {"cwd": "/", "env": [f"PATH={os.environ['PATH']}"], "noNewPrivileges": True,
                                            "capabilities": rights}}

    def share(self, directory, as_path=None):
        """A directory of this host that it has, too."""
        self.spec["mounts"].append({"destination": as_path or directory, "type": "bind", "source": directory,
                                    "options": ["bind", "rw"]})

    def own(self, directory):
        """Gives it a directory of this host, with all in it, by the ids that it knows."""
        first = self.users or 0
        subprocess.run(["chown", "-R", f"{first + self.uid}:{first + self.gid}", directory], check=True)
        self.share(directory)

    def command(self, args):
        """The command line that runs `args` as its first process, and ends with that. It ends with this test, too: by the
        signal that is asked for inside, where it is a child of runc."""
        self.spec["process"].update(args=["setpriv", "--pdeathsig", "KILL", *args],
                                    user={"uid": self.uid, "gid": self.gid})
        with open(os.path.join(self.directory, "config.json"), "w") as f:
            json.dump(self.spec, f)
        return self._command("run", "--bundle", self.directory, self.id)

    def enter(self, args):
        """The command line that runs `args` in it beside the first process."""
        return self._command("exec", self.id, *args)

    def pid(self):
        """Its first process, as this host numbers it; None before it is there."""
        r = subprocess.run(self._command("state", self.id), capture_output=True, text=True, check=False)
        return json.loads(r.stdout)["pid"] if r.returncode == 0 else None

    def _command(self, *args):
        return [self.runc, "--root", os.path.join(self.directory, "state"), *args]

    def _delete(self):
        subprocess.run(self._command("delete", "--force", self.id), check=True, capture_output=True)
        left = glob.glob(f"/sys/fs/cgroup{self.group}") + glob.glob(f"/sys/fs/cgroup/*{self.group}")
        check(not left, f"control groups left behind: {left}")


def need_runc(context, users=None):
    """Skip a test where runc cannot run, with what it says."""
    try:
        subprocess.run(Container(context, users=users).command(["true"]), check=True, capture_output=True, text=True,
                       stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        raise Skip(f"{os.path.basename(error.cmd[0])} does not run here: {error.stderr}") from None
