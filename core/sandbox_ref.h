// Names of the registry references that the libraries keep in struct sandbox.
#ifndef TUMA_SANDBOX_REF_H
#define TUMA_SANDBOX_REF_H

enum sandbox_ref {
    REF_ARRAY, // metatable of tables that are JSON arrays even when empty
    REF_LIBS,  // what require "lib.x" returned, by name
    REF_EVENT, // metatables of the views
    REF_REQUEST,
    REF_HEADERS,
    REF_QUERY,
    REF_BODY,
};

#endif
