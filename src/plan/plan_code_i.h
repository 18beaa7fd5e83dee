/* The plan as text, for plan_fields.c, plan_encode.c and plan_decode.c. */
#ifndef PORTREEVE_PLAN_CODE_I_H
#define PORTREEVE_PLAN_CODE_I_H
#include "plan/plan.h"

#define NEXT "[next]"

enum kind { TEXT, ARRAY, NUMBER, FLAG, CHOICE, ADDRESS, PORT };
struct field {
    const char *key;
    enum kind kind;
    size_t at;                  /* offset in the record's struct */
    size_t size;                /* TEXT, one of plan.texts: at most, with its NUL; ARRAY: bytes of it */
    const char *const *choices; /* CHOICE: names of 0, 1, …, NULL at the end */
};

struct fields {
    const struct field *of;
    size_t n;
};
#define SOCKET_FIELDS_MOST 96u
extern const struct fields plan_socket_fields, plan_cert_fields, plan_backend_fields, plan_fields;

bool plan_field_same(const struct field *f, const char *a, const char *b); /* of two records */
#endif
