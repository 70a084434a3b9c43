/* From /proc, which other systems do not have: then it is not known. */
#include "base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static int64_t count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int64_t n = -2; /* . and .. */

	if (d == NULL)
		return -1;
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n - 1; /* the one it is read through */
}

static void look_at_memory(struct process_figures *p)
{
	FILE *f = fopen("/proc/self/statm", "re");
	int64_t all, resident;

	if (f == NULL)
		return;
	if (fscanf(f, "%" SCNd64 " %" SCNd64, &all, &resident) == 2) {
		p->virtual_bytes = all * sysconf(_SC_PAGESIZE);
		p->resident_bytes = resident * sysconf(_SC_PAGESIZE);
	}
	fclose(f);
}

static int64_t boot_seconds(void)
{
	FILE *f = fopen("/proc/stat", "re");
	char line[256];
	int64_t at = -1;

	if (f == NULL)
		return -1;
	while (at < 0 && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "btime %" SCNd64, &at) != 1)
			at = -1;
	fclose(f);
	return at;
}

/* The 22nd field, in ticks since the machine was started; the second is a name, and may hold anything. */
static double start_seconds(void)
{
	FILE *f = fopen("/proc/self/stat", "re");
	char line[1024];
	const char *p = NULL;
	uint64_t ticks;
	int64_t boot = boot_seconds();

	if (f == NULL)
		return -1;
	if (fgets(line, sizeof line, f) != NULL)
		p = strrchr(line, ')');
	fclose(f);
	for (int field = 2; p != NULL && field < 22; field++)
		if ((p = strchr(p, ' ')) != NULL)
			p++;
	if (p == NULL || boot < 0 || sscanf(p, "%" SCNu64, &ticks) != 1)
		return -1;
	return (double)boot + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void process_look(struct process_figures *p)
{
	struct rusage u;
	struct rlimit l;

	*p = (struct process_figures){
		.cpu_seconds = -1,
		.start_seconds = start_seconds(),
		.resident_bytes = -1,
		.virtual_bytes = -1,
		.open_fds = count_descriptors(),
		.max_fds = -1,
	};
	look_at_memory(p);
	if (getrusage(RUSAGE_SELF, &u) == 0)
		p->cpu_seconds = seconds(u.ru_utime) + seconds(u.ru_stime);
	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur != RLIM_INFINITY)
		p->max_fds = (int64_t)l.rlim_cur;
}

#ifndef __has_feature /* clang's word for what gcc has a macro for */
#define __has_feature(what) 0
#endif

bool process_protect(void)
{
	struct rlimit none = { .rlim_cur = 0, .rlim_max = 0 };
	const char *dumps = getenv(PROCESS_DUMPS);

	if (dumps != NULL && strcmp(dumps, "1") == 0)
		return false;
	setrlimit(RLIMIT_CORE, &none);
	/* A sanitizer's leak check needs a process it can look into. */
#if !defined(__SANITIZE_ADDRESS__) && !__has_feature(address_sanitizer)
	prctl(PR_SET_DUMPABLE, 0);
#endif
	return true;
}

static void mask_hangup(int how)
{
	sigset_t hangup;

	sigemptyset(&hangup);
	sigaddset(&hangup, SIGHUP);
	pthread_sigmask(how, &hangup, NULL);
}

void process_hold_hangup(void)
{
	mask_hangup(SIG_BLOCK);
}

void process_take_hangup(void)
{
	mask_hangup(SIG_UNBLOCK);
}

bool process_can_open(size_t count)
{
	int fds[PROCESS_OPEN_MAX];
	size_t n = 0;

	while (n < count && n < PROCESS_OPEN_MAX && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	return n == count;
}

/* Left alone, the first large one that is freed makes the allocator keep all that are no larger from then on: between small ones they are holes that stay. */
void process_keep_little(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
#endif
}

void process_give_back(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

bool process_become(const char *user)
{
	const struct passwd *them = geteuid() == 0 ? getpwnam(user) : NULL;

	if (them == NULL || them->pw_uid == 0)
		return false;
	/* The groups first: whoever is not root any more may not change them. Half of it would be worse than none. */
	if (initgroups(user, them->pw_gid) != 0 || setresgid(them->pw_gid, them->pw_gid, them->pw_gid) != 0 ||
	    setresuid(them->pw_uid, them->pw_uid, them->pw_uid) != 0)
		abort();
	return true;
}
