-- expect: load-error: attempt to call global 'loadstring'
loadstring("x = 1")()
return {}
