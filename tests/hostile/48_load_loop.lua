-- expect: load-error: CPU budget exceeded
while true do end
