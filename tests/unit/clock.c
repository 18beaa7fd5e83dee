/* Unix time as text: what other software makes of the same moments, and the borders. */
#include "base/clock.h"
#include "unit/tap.h"
#include <stdlib.h>
#include <time.h>

static void says(int64_t ms, const char *want) {
    char text[CLOCK_TEXT];
    ok(strcmp(clock_text(ms, text), want) == 0, "%lld is %s (%s)", (long long)ms, want, text);
}

int main(void) {
    setenv("TZ", "America/New_York", 1); /* it is always UTC */
    tzset();
    says(0, "1970-01-01T00:00:00.000Z");
    says(1, "1970-01-01T00:00:00.001Z");
    says(951782400999, "2000-02-29T00:00:00.999Z");
    says(1000000000000, "2001-09-09T01:46:40.000Z");
    says(-1, "1969-12-31T23:59:59.999Z");
    says(-1000, "1969-12-31T23:59:59.000Z");
    says(-30610224000000, "1000-01-01T00:00:00.000Z");
    says(-30610224000001, "1000-01-01T00:00:00.000Z");
    says(253402300799999, "9999-12-31T23:59:59.999Z");
    says(253402300800000, "9999-12-31T23:59:59.999Z");
    says(INT64_MAX, "9999-12-31T23:59:59.999Z");
    says(INT64_MIN, "1000-01-01T00:00:00.000Z");
    return tap_end();
}
