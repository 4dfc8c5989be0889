# SPDX-License-Identifier: MIT
"""Other filesystems that pass a directory through, each in its best documented mode and, with
+direct, in the one that leaves the page cache alone."""
import os
import shutil

from . import system
from .build import ROOT, Failure, run
from .contenders import Daemon

FUSE = os.path.join(ROOT, "subprojects", "fuse-3.18.3")
URING = "/sys/module/fuse/parameters/enable_uring"
NAMES = ("passthrough_hp", "passthrough_ll", "bindfs", "mergerfs")


class Example(Daemon):
    """An example program of the libfuse that lanefs is built with, built from that source."""

    def program(self, bench):
        name = self.name.split("+")[0]
        directory = os.path.join(bench.build.path, "peers")
        path = os.path.join(directory, name)
        if os.path.exists(path):
            return path
        library = os.path.join(bench.build.path, "subprojects", "fuse-3.18.3")
        if not os.path.exists(os.path.join(library, "lib", "libfuse3.a")):
            raise Failure("libfuse was not built with lanefs: tools/bootstrap --libfuse, then "
                          "meson setup --wipe --force-fallback-for=fuse3")
        os.makedirs(directory, exist_ok=True)
        cplusplus = name == "passthrough_hp"
        compiler = "g++" if cplusplus else "gcc"
        if not shutil.which(compiler):
            raise Failure(f"{compiler} is not installed: apt-get install {compiler}")
        source = os.path.join(FUSE, "example", name + (".cc" if cplusplus else ".c"))
        run([compiler, "-O2", "-w", *(["-std=c++17"] if cplusplus else []), "-D_GNU_SOURCE",
             "-D_FILE_OFFSET_BITS=64", "-DHAVE_LIBFUSE_PRIVATE_CONFIG_H", f"-I{library}",
             f"-I{FUSE}/include", f"-I{FUSE}/lib", source, "-o", path,
             f"{library}/lib/libfuse3.a", "-luring", "-lnuma", "-lpthread", "-ldl", "-lrt"])
        return path

    def command(self, bench, source, target):
        # They keep a descriptor for every inode, as many as are allowed.
        return ["sh", "-c", "ulimit -n 1048576 2>/dev/null; exec \"$@\"", "sh",
                *self._command(bench, source, target)]

    def _command(self, bench, source, target):
        direct = self.name.endswith("+direct")
        # The same way as lanefs has, which libfuse documents for any filesystem.
        uring = bench.options.transport != "dev" and system.read(URING).strip() == "Y"
        options = "allow_other,io_uring" if uring else "allow_other"
        if self.name.startswith("passthrough_hp"):
            return [self.program(bench), "--foreground", "--clone-fd",
                    *(["--nopassthrough", "--direct-io"] if direct else []), "-o", options,
                    source, target]
        return [self.program(bench), "-f", "-o", f"source={source},{options},"
                f"cache={'never' if direct else 'always'}", target]


class Packaged(Daemon):
    """A package of the distribution."""

    def command(self, bench, source, target):
        name, direct = self.name.split("+")[0], self.name.endswith("+direct")
        if not shutil.which(name):
            raise Failure(f"{name} is not installed: apt-get install {name}")
        if name == "bindfs":
            return ["bindfs", "-f", "--multithreaded", *(["-o", "direct_io"] if direct else []),
                    source, target]
        options = "cache.files=off" if direct else "cache.files=auto-full,dropcacheonclose=false"
        return ["mergerfs", "-f", "-o", f"{options},async_read=true,minfreespace=0,"
                f"category.create=mfs,func.getattr=newest,allow_other", source, target]


def peer(name):
    """The contender of that name, or None."""
    base = name.removesuffix("+direct")
    if base not in NAMES:
        return None
    return (Example if base.startswith("passthrough") else Packaged)(name)
