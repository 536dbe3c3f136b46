// One property of a process per mode, printed: what the program can see must not depend on the preload library.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char** environ;

static volatile double sink = 1;
static void SpinMs(double ms) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  const double end = now.tv_sec * 1e3 + now.tv_nsec / 1e6 + ms;
  do {
    for (int i = 0; i < 100000; ++i) sink = sink * 0.999 + 1;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  } while (now.tv_sec * 1e3 + now.tv_nsec / 1e6 < end);
}

static void ListDescriptors(void) {
  for (int fd = 0; fd < 1200; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd);
  }
  printf("\n");
}

static void* Worker(void* unused) {
  (void)unused;
  SpinMs(150);
  printf("worker ends\n");
  fflush(stdout);
  return NULL;
}

static void* ShortWorker(void* unused) {
  SpinMs(0.3);
  return unused;
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "";
  const int hot = argc > 2 && strcmp(argv[2], "hot") == 0;
  if (hot) SpinMs(250);
#define MODE(name) if (strcmp(mode, name) == 0)
  MODE("single") printf("single-threaded: %d\n", __libc_single_threaded);
  MODE("descriptors") {
    ListDescriptors();
    for (int i = 0; i < 2000; ++i) {  // a number of ours in between would be taken here
      const int fd = open("/dev/null", O_RDONLY);
      if (fd != 3) printf("descriptor %d\n", fd);
      close(fd);
    }
    close_range(3, ~0u, 0);
    SpinMs(50);
    ListDescriptors();
  }
  MODE("namespaces") {
    const int user = unshare(CLONE_NEWUSER);
    const int files = unshare(CLONE_FILES);
    printf("%d %d\n", user, files);
    SpinMs(hot ? 1 : 250);
  }
  MODE("main-leaves") {
    pthread_t thread;
    pthread_create(&thread, NULL, Worker, NULL);
    pthread_detach(thread);
    pthread_exit(NULL);
  }
  MODE("fork") {
    for (int i = 0; i < 20; ++i) {
      fflush(stdout);
      const pid_t child = fork();
      if (child == 0) {
        SpinMs(i == 0 ? 150 : 1);
        printf("child %d\n", i);
        exit(i);
      }
      int status;
      waitpid(child, &status, 0);
      printf("status %d\n", WEXITSTATUS(status));
    }
  }
  MODE("spawn") {
    for (int i = 0; i < 20; ++i) {
      pid_t child;
      char* words[] = {"sh", "-c", "exit 3", NULL};
      posix_spawn(&child, "/bin/sh", NULL, NULL, words, environ);
      int status;
      waitpid(child, &status, 0);
      printf("status %d\n", WEXITSTATUS(status));
      if (vfork() == 0) _exit(i);
      wait(&status);
      printf("vfork %d\n", WEXITSTATUS(status));
    }
  }
  MODE("rights") {
    if (setgid(65534) != 0 || setuid(65534) != 0) return 1;
    SpinMs(hot ? 1 : 250);
    // No thread may have kept what the program gave away.
    DIR* tasks = opendir("/proc/self/task");
    int privileged = 0;
    for (struct dirent* task; (task = readdir(tasks)) != NULL;) {
      char name[64];
      char line[256];
      int uid = -1;
      snprintf(name, sizeof(name), "/proc/self/task/%.16s/status", task->d_name);
      FILE* status = fopen(name, "r");
      while (status && fgets(line, sizeof(line), status)) sscanf(line, "Uid: %d", &uid);
      if (status) fclose(status);
      privileged += uid == 0 && task->d_name[0] != '.';
    }
    printf("left over: %d\n", privileged);
  }
  MODE("_exit") { printf("leaving\n"); fflush(stdout); _exit(5); }
  MODE("preload") {
    const char* list = getenv("LD_PRELOAD");
    printf("%s\n", list ? list : "(none)");
    fflush(stdout);
    execl("/bin/sh", "sh", "-c", "echo ${LD_PRELOAD-(none)}", NULL);
  }
  MODE("many-threads") {
    for (int round = 0; round < 40; ++round) {
      pthread_t threads[8];
      for (int i = 0; i < 8; ++i) pthread_create(&threads[i], NULL, ShortWorker, NULL);
      for (int i = 0; i < 8; ++i) pthread_join(threads[i], NULL);
    }
    printf("done\n");
  }
  return 0;
}
