// A library whose code calls every hook: as another preloaded library (constructor and destructor), and as a plug-in.
#include "host.h"

void plugin(void);

void plugin(void) {
    for (int i = 0; i < 5; i++) {
        call_every_hook();
    }
}

__attribute__((constructor)) static void first(void) {
    plugin();
}

__attribute__((destructor)) static void last(void) {
    plugin();
    static const char text[] = "plugin: the end\n";
    CHECK(write(1, text, sizeof text - 1) == sizeof text - 1);
}
