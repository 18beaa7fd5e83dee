/* The control thread: talks to the supervisor, builds generations beside the living one, swaps them in, ends the engine. */
#ifndef PORTREEVE_ENGINE_CONTROL_H
#define PORTREEVE_ENGINE_CONTROL_H

/* `portreeve-engine --engine [--user NAME]`, fd 3 = the wire. Returns the exit status. */
int engine_main(int argc, char **argv);
#endif
