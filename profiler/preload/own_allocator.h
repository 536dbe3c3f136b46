// Does the program bring an allocator that was never meant for threads? The C library allocates for the thread that
// runs the runtime, too, by whatever `malloc` the program has put in its place: there is no way past it. Lisp systems
// that collect the C heap (GCL) break when a second thread allocates.
#pragma once

namespace tracelift::preload {

/// True when the executable itself defines malloc and imports nothing that starts threads. Reads memory only.
bool HasSingleThreadedMalloc();

}  // namespace tracelift::preload
