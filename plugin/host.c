#include "host.h"
#include "_cgo_export.h"

/*
 * Called once a second by hosts from 4.1 on, with the handle as context. Go is entered only where there is something to
 * do, see bell.go.
 */
DUO_EXPORT int FLBPluginInputCallbackCtx(void *ctx, void **data, size_t *size)
{
    if (ctx != NULL && !duo_rings(ctx)) {
        *data = NULL;
        *size = 0;
        return 1; /* FLB_OK */
    }
    return duoCollect(ctx, data, size);
}
