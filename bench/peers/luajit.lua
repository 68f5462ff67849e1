-- The standard works in LuaJIT: gsub over the text, and the best way known here:
-- the text split once, escaping only where a class match says so, one concat.
local cjson = require "cjson"
local dir = arg[1]

local function read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read "*a"
  f:close()
  return text
end

local letters = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
}
for c = 0, 31 do
  local char = string.char(c)
  letters[char] = letters[char] or string.format("\\u%04x", c)
end
local percents = {}
for c = 0, 255 do percents[string.char(c)] = string.format("%%%02X", c) end

local function escape_json(s) return (s:gsub('[%z\1-\31"\\]', letters)) end
local function escape_url(s) return (s:gsub("[^%w%-%._~]", percents)) end

local function gsub_renderer(work)
  local escape = work.mode == "json" and escape_json or escape_url
  local template = work.template
  return function(event)
    return (template:gsub("%[([A-Z0-9_]+)%]", function(name)
      local value = event[name]
      return value and escape(value)
    end))
  end
end

local function split_renderer(work)
  local json = work.mode == "json"
  local unsafe = json and '[%z\1-\31"\\]' or "[^%w%-%._~]"
  local map = json and letters or percents
  local parts, names, at = {}, {}, 1
  for from, name, to in work.template:gmatch "()%[([A-Z0-9_]+)%]()" do
    parts[#parts + 1] = work.template:sub(at, from - 1)
    parts[#parts + 1] = ""
    names[#names + 1] = name
    at = to
  end
  parts[#parts + 1] = work.template:sub(at)
  local find, gsub, concat = string.find, string.gsub, table.concat
  return function(event)
    for i = 1, #names do
      local value = event[names[i]]
      if not value then value = "[" .. names[i] .. "]"
      elseif find(value, unsafe) then value = gsub(value, unsafe, map) end
      parts[2 * i] = value
    end
    return concat(parts)
  end
end

local clock = os.clock
local function measure(render, events)
  local function pass()
    local bytes = 0
    for i = 1, #events do bytes = bytes + #render(events[i]) end
    return bytes
  end
  local start = clock()
  for _ = 1, 3 do pass() end
  local passes = math.max(1, math.floor(0.06 / (clock() - start + 1e-6)))
  local figures = {}
  for round = 1, 9 do
    start = clock()
    for _ = 1, passes do pass() end
    figures[round] = (clock() - start) * 1e9 / (passes * #events)
  end
  table.sort(figures)
  return figures[5]
end

local results = { luajit_gsub = {}, luajit_best = {} }
for _, work in ipairs(cjson.decode(read(dir .. "/works.json"))) do
  local want = read(dir .. "/out/ref." .. work.name)
  for name, render in pairs { luajit_gsub = gsub_renderer(work), luajit_best = split_renderer(work) } do
    local all = {}
    for i, event in ipairs(work.events) do all[i] = render(event) end
    assert(table.concat(all) == want, name .. ": wrong output of " .. work.name)
    results[name][work.name] = measure(render, work.events)
  end
end
print(cjson.encode(results))
