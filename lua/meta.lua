-- Makes what editors and luacheck want to know from lua/api.lua and the
-- catalogue: meta(api, catalog) returns the text of a LuaLS ---@meta file and of
-- a luacheck configuration. Pure text work; runs in a sandbox as well as in luajit.

local unpack_signature = function(signature)
  local params, result = signature:match("^%((.-)%)(.*)$")
  return params, result and result:match("^:%s*(.+)$")
end

-- One function: its doc, its parameters, its result, an empty body.
local function add_function(out, name, signature, doc)
  local params, result = unpack_signature(signature)
  local names = {}
  out[#out + 1] = "---" .. doc
  for param in (params .. ","):gmatch("%s*(.-),") do
    local param_name, optional, kind = param:match("^([%a_]+)(%??):%s*(.+)$")
    if param_name then
      names[#names + 1] = param_name
      out[#out + 1] = "---@param " .. param_name .. optional .. " " .. kind
    end
  end
  if result then out[#out + 1] = "---@return " .. result end
  out[#out + 1] = "function " .. name .. "(" .. table.concat(names, ", ") .. ") end"
  out[#out + 1] = ""
end

local function add_module(out, module)
  out[#out + 1] = "---" .. module[2]
  out[#out + 1] = module[1] .. " = {}"
  out[#out + 1] = ""
  for i = 3, #module do
    local name, signature, doc = module[i][1], module[i][2], module[i][3]
    if signature:sub(1, 1) == "(" then
      add_function(out, module[1] .. "." .. name, signature, doc)
    else
      out[#out + 1] = "---" .. doc
      out[#out + 1] = "---@type " .. signature
      out[#out + 1] = module[1] .. "." .. name .. " = nil"
      out[#out + 1] = ""
    end
  end
end

local function add_class(out, class, tags)
  local methods = {}
  out[#out + 1] = "---" .. class[2]
  out[#out + 1] = "---@class tuma." .. class[1]
  for i = 3, #class do
    local member = class[i]
    if member[2]:sub(1, 1) == "(" then
      methods[#methods + 1] = member
    else
      local kind = member[2]:gsub("%f[%w]body%f[%W]", "tuma.body"):gsub("%f[%w]response%f[%W]", "tuma.response")
      out[#out + 1] = "---@field " .. member[1] .. " " .. kind .. " " .. member[3]
    end
  end
  for _, tag in ipairs(tags or {}) do
    out[#out + 1] = "---@field " .. tag.name .. " string? " .. (tag.description or "")
  end
  out[#out + 1] = "local " .. class[1] .. " = {}"
  out[#out + 1] = ""
  for _, member in ipairs(methods) do
    local signature = member[2]:gsub("^%(self,?%s*", "("):gsub(":%s*request$", ": tuma.request")
    add_function(out, class[1] .. ":" .. member[1], signature, member[3])
  end
end

local function add_hook(out)
  out[#out + 1] = [[
---What a webhook asks of a receiver. [TAG] is replaced by the event's value.
---@class tuma.hook.request
---@field method? string POST when not said
---@field format? "json"|"form"|"raw"
---@field url string
---@field headers? table<string, string>
---@field body? string|table a template; for a form also a table of field to template

---A webhook's file returns one of these.
---@class tuma.hook
---@field on string|string[] event types, exact or "call.*"
---@field org? string only this organization's events
---@field when? table<string, string|table> conditions decided without the script
---@field request tuma.hook.request
---@field missing? "keep"|"empty"|"null"|"omit"|"fail" what becomes of a tag without a value
---@field timeout? number seconds for an attempt
---@field connect_timeout? number seconds of them for the connection
---@field retry? string|number[]|table "standard", "none", seconds, or { base, factor, max, attempts }
---@field rate? string "50/s burst 5"
---@field concurrency? integer attempts under way at once
---@field order_by? string deliveries with the same text go one after another
---@field breaker? table|false { failures, cooldown, cooldown_max }
---@field sign? table { scheme = "standard"|"hex"|"github"|"stripe", secret, header }
---@field auth? table type "basic", "bearer", "oauth2" or "mtls"; user, secret, url, client, scope
---@field secrets? string[] secrets that secret.get may read
---@field on_script_error? "hold"|"send"|"drop"
---@field enabled? boolean
---@field description? string
---@field filter? fun(event: tuma.event): boolean?, string?
---@field tags? fun(event: tuma.event): table?
---@field transform? fun(event: tuma.event, request: tuma.request): tuma.request|table|nil
---@field response? fun(event: tuma.event, response: tuma.response): string?, number|string|nil
---@field exhausted? fun(event: tuma.event, delivery: tuma.delivery)
---@field tests? table[]
]]
end

local function quoted(names)
  local out = {}
  for _, name in ipairs(names) do out[#out + 1] = string.format("%q", name) end
  return table.concat(out, ", ")
end

-- Globals for luacheck: stock names and host modules, all read-only.
local function luacheck(api)
  local out = { "-- Made from lua/api.lua by lua/meta.lua.", 'std = "none"', "read_globals = {" }
  out[#out + 1] = "  " .. quoted(api.stock[""]) .. ","
  local names = {}
  for name in pairs(api.stock) do if name ~= "" then names[#names + 1] = name end end
  table.sort(names)
  for _, name in ipairs(names) do
    out[#out + 1] = "  " .. name .. " = { fields = { " .. quoted(api.stock[name]) .. " } },"
  end
  for _, module in ipairs(api.modules) do
    local fields = {}
    for i = 3, #module do fields[#fields + 1] = module[i][1] end
    out[#out + 1] = "  " .. module[1] .. " = { fields = { " .. quoted(fields) .. " } },"
  end
  out[#out + 1] = "}"
  -- A stage names all that it gets, and a template's line is as long as its JSON.
  out[#out + 1] = "unused_args = false"
  out[#out + 1] = "max_line_length = false"
  out[#out + 1] = 'exclude_files = { "**/.meta.lua" }'
  return table.concat(out, "\n") .. "\n"
end

return function(api, catalog)
  local out = { "---@meta", "-- Made from lua/api.lua and the catalogue by lua/meta.lua.", "" }
  for _, module in ipairs(api.modules) do add_module(out, module) end
  for _, class in ipairs(api.classes) do
    add_class(out, class, class[1] == "event" and catalog and catalog.tags or nil)
  end
  add_hook(out)
  return table.concat(out, "\n"), luacheck(api)
end
