/* Processes that die, and a watchdog over the one that comes next: nothing in here knows either library. */
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

/* SIGKILL for this process, within the next 300 us. */
inline void
die_soon()
{
        struct sigevent event = {};
        struct itimerspec when = {};
        timer_t timer;

        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = SIGKILL;
        timer_create(CLOCK_MONOTONIC, &event, &timer);
        when.it_value.tv_nsec = 1 + (getpid() * 7919L) % 300000;
        timer_settime(timer, 0, &when, nullptr);
}

using act = void (*)(const char *name);

/* What f ended by, in a process of its own: a signal, or 0.  A watchdog ends it by SIGALRM. */
inline int
run(act f, const char *name, unsigned watchdog_seconds)
{
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
                alarm(watchdog_seconds);
                f(name);
                _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || (WIFEXITED(status) && WEXITSTATUS(status) != 0)) {
                std::perror("a process could not be run");
                std::exit(2);
        }
        return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

struct acts {
        act forget, make, die_in_a_constructor, die_in_an_allocation, come_next;
};

/* Kills n times in each of the two, and lets the next process try after every kill.  0: it always could. */
inline int
judge(int n, const acts &a)
{
        const struct {
                const char *where;
                act victim;
        } deaths[] = {{"a constructor", a.die_in_a_constructor}, {"an allocation", a.die_in_an_allocation}};
        const char *seconds = std::getenv("WATCHDOG_SECONDS");
        const unsigned watchdog = seconds ? static_cast<unsigned>(std::atoi(seconds)) : 5;
        const std::string name = "comparison-" + std::to_string(getpid());
        int hung = 0;

        for (auto &d : deaths) {
                int i = 0;

                /* As long as nobody is killed it works with both. */
                if (run(a.make, name.c_str(), 0) != 0 || run(a.come_next, name.c_str(), watchdog) != 0)
                        return 2;
                while (i < n && run(d.victim, name.c_str(), 0) == SIGKILL &&
                       run(a.come_next, name.c_str(), watchdog) == 0)
                        i++;
                if (i == n) {
                        std::printf("%-18s SIGKILL in %s, %d times: the next process went on each time\n", LIBRARY,
                                    d.where, n);
                } else {
                        std::printf("%-18s SIGKILL in %s, time %d: the next process HANGS, says the watchdog\n",
                                    LIBRARY, d.where, i + 1);
                        hung = 1;
                }
                a.forget(name.c_str());
        }
        return hung;
}
