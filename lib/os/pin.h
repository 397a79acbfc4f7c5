/*
 * pin.h - the code of this library cannot be unloaded.
 *
 * The C library keeps addresses in it: of what is called when a thread ends.  Threads end long after the plugin that
 * used the library has been unloaded.  The shared library is linked so that it stays (-z nodelete); where the static
 * one is part of a plugin, that has to be asked for.  Loading the plugin again then finds everything as it was.
 */
#ifndef OS_PIN_H
#define OS_PIN_H

/* Idempotent.  Behind a shield, and with no lock held that a constructor of a library which is being loaded may wait
 * for. */
void os_pin(void);

#endif
