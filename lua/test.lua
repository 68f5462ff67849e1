-- Judges one test of a webhook: what a test expects beside what the stages made.
-- Runs in a sandbox of its own; the stages ran in C before it is called.
--
--   test   = { name, event, response?, store?, secrets?, expect }     as the hook's file has it; `store`
--            is there before the event, a secret that is not given has its name for a value
--   actual = { outcome = "ok" | "filtered" | "error" | "render_error", reason, error,
--              requests = { { method, url, headers = { {name, value}, … }, body }, … },
--              unresolved = { … }, verdict, retry_after }
--
-- expect is "filtered", "sent", "delivered", "retry", "fail", or a table:
--   filtered, reason, error, method, url, headers, body, requests = { … }, unresolved, verdict, retry_after
-- A string in `body` is compared as it stands; a table is compared with the body's JSON,
-- member by member: what the expectation leaves out may be anything. `error` and `reason`
-- must occur in the text. Returns the mistakes as text, or "" when there are none.

local function shown(value)
  if type(value) == "string" then
    return #value > 300 and json.encode(value:sub(1, 300)) .. "…" or json.encode(value)
  end
  local ok, text = pcall(json.encode, value)
  text = ok and text or tostring(value)
  return #text > 300 and text:sub(1, 300) .. "…" or text
end

local function differ(out, path, want, got)
  out[#out + 1] = path .. "\n  - expected " .. shown(want) .. "\n  + got      "
    .. (got == nil and "nothing" or shown(got))
end

local function sorted(names)
  local out = {}
  for name in pairs(names) do out[#out + 1] = name end
  table.sort(out, function(a, b)
    if type(a) == "number" and type(b) == "number" then return a < b end
    return tostring(a) < tostring(b)
  end)
  return out
end

local function compare(out, path, want, got)
  if type(want) ~= "table" or type(got) ~= "table" then
    if want ~= got then differ(out, path, want, got) end
    return
  end
  for _, name in ipairs(sorted(want)) do
    local step = type(name) == "number" and "[" .. name .. "]" or (path == "" and "" or ".") .. name
    compare(out, path .. step, want[name], got[name])
  end
  if #want > 0 and #got > #want then
    differ(out, path, #want .. " items", #got .. " items")
  end
end

local function header(request, wanted)
  for _, pair in ipairs(request.headers) do
    if pair[1]:lower() == wanted:lower() then return pair[2] end
  end
end

local function compare_body(out, path, want, body)
  if type(want) == "string" then
    if want ~= body then differ(out, path, want, body) end
    return
  end
  local ok, decoded = pcall(json.decode, body or "")
  if not ok then
    differ(out, path, "JSON", body)
    return
  end
  compare(out, path, want, decoded)
end

local function compare_request(out, path, want, request)
  if not request then
    out[#out + 1] = path .. "\n  - expected a request\n  + got      none"
    return
  end
  for _, name in ipairs({ "method", "url" }) do
    if want[name] ~= nil and want[name] ~= request[name] then
      differ(out, path .. name, want[name], request[name])
    end
  end
  for _, name in ipairs(sorted(want.headers or {})) do
    local value, got = want.headers[name], header(request, name)
    if value == false then
      if got then differ(out, path .. "headers." .. name, "absent", got) end
    elseif got ~= tostring(value) then
      differ(out, path .. "headers." .. name, value, got)
    end
  end
  if want.body ~= nil then compare_body(out, path .. "body", want.body, request.body) end
end

local function compare_requests(out, want, actual)
  local requests = actual.requests or {}
  if #requests ~= #want then
    differ(out, "requests", #want .. " requests", #requests .. " requests")
  end
  for i, one in ipairs(want) do
    compare_request(out, "requests[" .. i .. "].", one, requests[i])
  end
end

local function occurs(out, path, want, text)
  if want == true and text then return end
  if type(want) ~= "string" or not (text or ""):find(want, 1, true) then
    differ(out, path, want, text)
  end
end

local function compare_names(out, want, got)
  local there = {}
  for _, name in ipairs(got or {}) do there[name] = true end
  for _, name in ipairs(want) do
    if not there[name] then differ(out, "unresolved", want, got) return end
  end
end

local request_names = { "method", "url", "headers", "body" }

local function wants_request(expect)
  for _, name in ipairs(request_names) do
    if expect[name] ~= nil then return true end
  end
  return expect.requests ~= nil or expect.unresolved ~= nil or expect.filtered == false
end

local known = {
  filtered = true, reason = true, error = true, method = true, url = true, headers = true, body = true,
  requests = true, unresolved = true, verdict = true, retry_after = true,
}

local function outcome_text(actual)
  if actual.outcome == "filtered" then
    return "filtered" .. (actual.reason and ": " .. actual.reason or "")
  end
  return actual.outcome .. ": " .. (actual.error or "")
end

local function judge_table(out, expect, actual)
  for _, name in ipairs(sorted(expect)) do
    if not known[name] then out[#out + 1] = "expect has no \"" .. tostring(name) .. "\"" end
  end
  local failed = actual.outcome == "error" or actual.outcome == "render_error"
  if expect.error ~= nil then
    occurs(out, "error", expect.error, failed and actual.error or nil)
    return
  end
  if failed then
    out[#out + 1] = "the script failed\n  + got      " .. outcome_text(actual)
    return
  end
  if expect.filtered or expect.reason ~= nil and not expect.verdict then
    if actual.outcome ~= "filtered" then
      out[#out + 1] = "outcome\n  - expected filtered\n  + got      " .. #(actual.requests or {}) .. " request(s)"
    elseif expect.reason ~= nil then
      occurs(out, "reason", expect.reason, actual.reason)
    end
    return
  end
  if expect.verdict ~= nil and expect.verdict ~= actual.verdict then
    differ(out, "verdict", expect.verdict, actual.verdict)
  end
  if expect.retry_after ~= nil and expect.retry_after ~= actual.retry_after then
    differ(out, "retry_after", expect.retry_after, actual.retry_after)
  end
  if not wants_request(expect) then return end
  if actual.outcome == "filtered" then
    out[#out + 1] = "outcome\n  - expected a request\n  + got      " .. outcome_text(actual)
    return
  end
  if expect.requests then compare_requests(out, expect.requests, actual) end
  compare_request(out, "", expect, (actual.requests or {})[1])
  if expect.unresolved then compare_names(out, expect.unresolved, actual.unresolved) end
end

local words = {
  filtered = { filtered = true },
  sent = { filtered = false },
  error = { error = true },
  delivered = { verdict = "delivered" },
  retry = { verdict = "retry" },
  fail = { verdict = "fail" },
}

local parts = { name = true, event = true, response = true, store = true, secrets = true, expect = true }

return function(test, actual)
  local out = {}
  for _, name in ipairs(sorted(test)) do
    if not parts[name] then out[#out + 1] = "a test has no \"" .. tostring(name) .. "\"" end
  end
  if type(test.event) ~= "table" then
    out[#out + 1] = "a test has an event: event = { type = \"call.completed\", CALL_ID = \"c1\" }"
  end
  if #out > 0 then return table.concat(out, "\n") end
  local expect = test.expect
  if type(expect) == "string" then expect = words[expect] end
  if type(expect) ~= "table" then
    return "expect must be \"filtered\", \"sent\", \"error\", \"delivered\", \"retry\", \"fail\" or a table"
  end
  judge_table(out, expect, actual)
  return table.concat(out, "\n")
end
