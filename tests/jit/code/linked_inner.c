// The inner of two libraries that the tests of ElfProgram link: what the outer one is bound to. Each function returns a
// number of its own, so that its code tells which one it is.
int inner(void) { return 0x11110001; }

// Two versions of one name: who was linked against the new one must not get the old.
int versioned_old(void) { return 0x11110002; }
int versioned_new(void) { return 0x11110003; }
__asm__(".symver versioned_old, versioned@TL_1");
__asm__(".symver versioned_new, versioned@@TL_2");

// Also defined by the outer library, which comes first.
int overridden(void) { return 0x11110004; }
int call_overridden(void) { return overridden() + 1; }

static int variant(void) { return 0x11110005; }
static int (*choose(void))(void) { return variant; }
int indirect(void) __attribute__((ifunc("choose")));
int call_indirect(void) { return indirect() + 1; }

int data_not_code = 0x11110006;
