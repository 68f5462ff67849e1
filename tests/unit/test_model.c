// Ids as people type them.
#include "model.h"

#include "check.h"

static void a_delivery_is_named_by_its_number_or_its_whole_id(void) {
    static const struct {
        const char *id;
        int64_t number; // 0: refused
    } rows[] = {
        { "1", 1 },
        { "900719925474099312", 900719925474099312 },
        { "msg_ab12cd3417", 17 },
        { "msg_ab12cd34", 0 },
        { "", 0 },
        { "0", 0 },
        { "-1", 0 },
        { "+5", 0 },
        { " 5", 0 },
        { "5x", 0 },
        { "9007199254740993120", 0 },
        { "msg_ab12cd34x", 0 },
        { "evt_ab12cd3417", 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t number = -7;
        CHECK(delivery_number(slice_str(rows[i].id), &number) == (rows[i].number != 0));
        CHECK_INT(number, rows[i].number ? rows[i].number : -7);
    }
}

static const struct check_case cases[] = {
    { "a delivery is named by its number or its whole id",
      a_delivery_is_named_by_its_number_or_its_whole_id },
};
CHECK_MAIN(cases)
