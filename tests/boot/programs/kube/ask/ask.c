/* Prints the IPv4 addresses of a name, as the C library that it was built with finds them. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

int main(int argc, char **argv) {
    struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found, *one;
    char text[INET_ADDRSTRLEN];
    if (argc != 2) return 2;
    int failed = getaddrinfo(argv[1], "80", &wanted, &found);
    if (failed) {
        fprintf(stderr, "%s: %s\n", argv[1], gai_strerror(failed));
        return 1;
    }
    for (one = found; one; one = one->ai_next)
        puts(inet_ntop(AF_INET, &((struct sockaddr_in *)one->ai_addr)->sin_addr, text, sizeof text));
    return 0;
}
