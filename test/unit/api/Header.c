/* include/fusebox.h is C. */
#include "include/fusebox.h"

const char *versionSeenFromC(void) { return fusebox_version(); }
