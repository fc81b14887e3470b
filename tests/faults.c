/* File operations that change something are counted, and at a chosen one the process is killed or the operation fails.

   Preloaded (LD_PRELOAD), it stands between a process and the C library, so that Python, Rust and C++ are all seen.
   Nothing happens before faults_arm(); forked children go on unarmed, and so do programs that they start.
   A kill leaves on the disk what is there at that moment, so copies of a folder, made while a process goes on, stand
   for kills at every operation of one run. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, FAIL };

static pid_t armed; /* the process that is watched */
static int how, code, record = -1;
static long count, chosen, most;
static const char *watched, *copies; /* a folder, and where its copies go; 0 for no copies */
static char *moments; /* for each operation: 'k' for a copy before it, 't' for one within its write, 'b' for both */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Count from now on. At operation number `at` (from 0): KILL dies before it, TEAR dies after half of what it writes,
   FAIL lets it and the next `times - 1` that need space fail with `error`. Each operation is a line of `log`. */
void faults_arm(long at, int kind, int error, long times, const char *log) {
    armed = getpid(), count = 0, chosen = at, how = kind, code = error, most = times;
    record = log ? REAL(open)(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600) : -1;
}

/* From now on copy `folder` into `into`/NUMBER before operations, and into `into`/NUMBER.torn within writes. */
void faults_copy(const char *folder, const char *into, const char *wanted) {
    watched = strdup(folder), copies = strdup(into), moments = strdup(wanted);
}

static int is_wanted(long number, char kind) {
    return moments && number < (long)strlen(moments) && (moments[number] == kind || moments[number] == 'b');
}

static void copy(long number, const char *ending) {
    char place[4300];
    snprintf(place, sizeof place, "%s/%ld%s", copies, number, ending);
    pid_t child = vfork();
    if (!child) { execlp("cp", "cp", "-a", "--", watched, place, (char *)0); _exit(127); }
    int status;
    if (waitpid(child, &status, 0) != child || status) abort();
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Count an operation; return the error that it is to fail with, or 0. */
static int struck(const char *name, const char *path, int takes_space, int torn) {
    if (armed != getpid()) return 0;
    if (how == FAIL && !takes_space) return 0;
    long now = __atomic_fetch_add(&count, 1, __ATOMIC_SEQ_CST);
    if (record >= 0) {
        char line[4300];
        int length = snprintf(line, sizeof line, "%s %s\n", name, path);
        if (REAL(write)(record, line, length) < 0) abort();
    }
    if (is_wanted(now, 'k')) copy(now, "");
    if (how == KILL && now == chosen) die();
    if (how == TEAR && now == chosen && !torn) die();
    return how == FAIL && now >= chosen && now < chosen + most ? code : 0;
}

static int is_torn(void) { return armed == getpid() && how == TEAR && count == chosen + 1; }

#define STRIKE(name, path, space) \
    do { int error = struck(name, path, space, 0); if (error) { errno = error; return -1; } } while (0)

static int is_system(const char *path) { return !strncmp(path, "/dev/", 5) || !strncmp(path, "/proc/", 6); }

#define OPEN(name, parameters, arguments, there) \
    int name parameters { \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        if (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) && !is_system(path)) STRIKE("open", path, flags & O_CREAT && there); \
        return REAL(name) arguments; \
    }
OPEN(open, (const char *path, int flags, ...), (path, flags, mode), access(path, F_OK))
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), access(path, F_OK))
OPEN(openat, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), faccessat(folder, path, F_OK, 0))
OPEN(openat64, (int folder, const char *path, int flags, ...), (folder, path, flags, mode), faccessat(folder, path, F_OK, 0))

/* Writes to regular files; the standard streams are not among them. */
static int is_file(int file, char *path) {
    struct stat found;
    if (armed != getpid() || file < 3 || file == record || fstat(file, &found) || !S_ISREG(found.st_mode)) return 0;
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, 4095);
    path[length < 0 ? 0 : length] = 0;
    return 1;
}

#define WRITE(type, name, parameters, whole, half, rest) \
    type name parameters { \
        char path[4096]; \
        if (!is_file(file, path)) return REAL(name) whole; \
        int error = struck("write", path, 1, 1); \
        if (error) { errno = error; return -1; } \
        if (is_torn()) { if (REAL(name) half < 0) abort(); die(); } \
        long now = count - 1; \
        if (!is_wanted(now, 't')) return REAL(name) whole; \
        type begun = REAL(name) half; \
        if (begun < 0) abort(); \
        copy(now, ".torn"); \
        type ended = REAL(name) rest; \
        return ended < 0 ? ended : begun + ended; \
    }
WRITE(ssize_t, write, (int file, const void *data, size_t size), (file, data, size), (file, data, size / 2), (file, (const char *)data + begun, size - begun))
WRITE(ssize_t, pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at), (file, data, size / 2, at), (file, (const char *)data + begun, size - begun, at + begun))
WRITE(ssize_t, pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at), (file, data, size / 2, at), (file, (const char *)data + begun, size - begun, at + begun))
WRITE(ssize_t, writev, (int file, const struct iovec *parts, int number), (file, parts, number), (file, parts, number / 2), (file, parts + number / 2, number - number / 2))
WRITE(ssize_t, sendfile, (int file, int source, off_t *at, size_t size), (file, source, at, size), (file, source, at, size / 2), (file, source, at, size - begun))
WRITE(ssize_t, sendfile64, (int file, int source, off64_t *at, size_t size), (file, source, at, size), (file, source, at, size / 2), (file, source, at, size - begun))
WRITE(int, ftruncate, (int file, off_t size), (file, size), (file, size / 2), (file, size))
WRITE(int, ftruncate64, (int file, off64_t size), (file, size), (file, size / 2), (file, size))

/* Operations on names; those that change nothing, since a folder is there or a file is not, are not counted. */
static int is_there(int folder, const char *path) { return !faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW); }

#define CHANGE(name, parameters, arguments, path, space, changes) \
    int name parameters { if (changes) STRIKE(#name, path, space); return REAL(name) arguments; }
CHANGE(mkdir, (const char *path, mode_t mode), (path, mode), path, 1, !is_there(AT_FDCWD, path))
CHANGE(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), path, 1, !is_there(folder, path))
CHANGE(rename, (const char *from, const char *to), (from, to), to, 0, 1)
CHANGE(renameat, (int one, const char *from, int other, const char *to), (one, from, other, to), to, 0, 1)
CHANGE(unlink, (const char *path), (path), path, 0, is_there(AT_FDCWD, path))
CHANGE(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), path, 0, is_there(folder, path))
CHANGE(rmdir, (const char *path), (path), path, 0, is_there(AT_FDCWD, path))
CHANGE(link, (const char *from, const char *to), (from, to), to, 1, 1)
CHANGE(symlink, (const char *from, const char *to), (from, to), to, 1, 1)
CHANGE(truncate, (const char *path, off_t size), (path, size), path, 0, 1)
CHANGE(chmod, (const char *path, mode_t mode), (path, mode), path, 0, 1)
CHANGE(fchmodat, (int folder, const char *path, mode_t mode, int flags), (folder, path, mode, flags), path, 0, 1)
