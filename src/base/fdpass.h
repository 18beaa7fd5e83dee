/* Descriptors beside the bytes of a message (SCM_RIGHTS, unix(7)). */
#ifndef PORTREEVE_BASE_FDPASS_H
#define PORTREEVE_BASE_FDPASS_H
#include <sys/socket.h>

#define FDPASS_MOST 200

union fdpass { /* room for them; lives as long as the msghdr that points to it */
    struct cmsghdr head;
    char room[CMSG_SPACE(FDPASS_MOST * sizeof(int))];
};
/* m is to carry n descriptors (at most FDPASS_MOST; 0 = none), which stay the caller's. */
void fdpass_put(struct msghdr *m, union fdpass *room, const int *fds, unsigned n);
void fdpass_room(struct msghdr *m, union fdpass *room); /* m is to be received with whatever it brings */
/* Those that came with m: at most `most` of them, the receiver's to close; others are closed here. Returns how many. */
unsigned fdpass_get(struct msghdr *m, int *fds, unsigned most);
#endif
