/* A library that does nothing: what the loader takes for any file that is preloaded, linked as libreuse.so is. */
const int libreuse_nothing = 0;
