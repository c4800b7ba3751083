/* The program part of a recorder (see build-recorders): an arm64 ELF file, because imgbuild puts nothing else
 * into an image, that lets Python run the zip archive that is appended to this very file. `unzip -l` shows it.
 *
 * Arguments and environment are passed on as they are. The name that it was called by, which Python would lose,
 * is in RECORDER_NAME: k3s is kubectl when it is called so.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char python[] = "/usr/bin/python3";

int main(int argc, char **argv)
{
    static char self[PATH_MAX];
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) {
        perror("recorder: /proc/self/exe");
        return 127;
    }
    char **words = calloc(argc + 3, sizeof *words);
    if (!words || setenv("RECORDER_NAME", argv[0], 1) != 0) {
        perror("recorder");
        return 127;
    }
    int n = 0;
    words[n++] = (char *)python;
    words[n++] = "-IS"; /* no settings from outside, no other people's modules */
    words[n++] = self;
    for (int i = 1; i < argc; i++)
        words[n++] = argv[i];
    execv(python, words);
    perror("recorder: /usr/bin/python3");
    return 127;
}
