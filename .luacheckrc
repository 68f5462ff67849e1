-- The scripts see Lua 5.1 and the host modules (lua/api.lua).
std = "lua51"
max_line_length = 150
unused_args = false
read_globals = { "json", "log", "store", "hash", "base64", "url", "phone", "time", "secret", "bit" }
