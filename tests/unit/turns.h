/*
 * The loops of the steps (dbps/mysql.h) without a kernel: turn after turn.
 */
#ifndef DBPS_TURNS_H
#define DBPS_TURNS_H

#define DBPS_TURN(n, function, type, context)                                                      \
	enum { function##_turns = (n) };                                                           \
	static int function(__u32 i, type *context)
#define DBPS_LOOP(function, context)                                                               \
	do {                                                                                       \
		for (__u32 i_ = 0; i_ < function##_turns && !function(i_, context); i_++)          \
			;                                                                          \
	} while (0)

#endif
