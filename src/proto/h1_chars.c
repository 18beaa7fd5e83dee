#include "proto/h1_int.h"

#define V    H1_VALUE
#define VT   (H1_VALUE | H1_TARGET | H1_PATH)
#define TVT  (H1_TOKEN | VT)
#define NAME (TVT | H1_NAME)
#define HEX  (NAME | H1_ADDRESS)

const uint8_t h1_class[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = TVT,
    ['"'] = VT,
    ['#'] = H1_TOKEN | V,
    ['$' ... '\''] = TVT,
    ['(' ... ')'] = VT,
    ['*' ... '+'] = TVT,
    [','] = VT,
    ['-'] = NAME,
    ['.'] = NAME | H1_ADDRESS,
    ['/'] = VT,
    ['0' ... '9'] = HEX | H1_DIGIT,
    [':'] = VT | H1_ADDRESS,
    [';' ... '>'] = VT,
    ['?'] = H1_VALUE | H1_TARGET,
    ['@'] = VT,
    ['A' ... 'F'] = HEX,
    ['G' ... 'Z'] = NAME,
    ['[' ... ']'] = VT,
    ['^'] = TVT,
    ['_'] = NAME,
    ['`'] = TVT,
    ['a' ... 'f'] = HEX,
    ['g' ... 'z'] = NAME,
    ['{'] = VT,
    ['|'] = TVT,
    ['}'] = VT,
    ['~'] = TVT,
    [0x80 ... 0xff] = V,
};
