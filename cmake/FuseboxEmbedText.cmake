# fusebox_embed_texts(OUTPUT FUNCTION HEADER FILES...): writes a C++ file in which FUNCTION, declared in HEADER as
# `const std::map<std::string, std::string> &FUNCTION()` of namespace fusebox, returns each file's text by its name
# without extension. Rewritten when a file changes.
function(fusebox_embed_texts output function header)
  set(body "#include \"${header}\"\n\nconst std::map<std::string, std::string> &fusebox::${function}() {\n")
  string(APPEND body "  static const std::map<std::string, std::string> texts = {\n")
  foreach(file IN LISTS ARGN)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    get_filename_component(name ${file} NAME_WE)
    file(READ ${file} text)
    string(APPEND body "      {\"${name}\", R\"~embedded~(${text})~embedded~\"},\n")
  endforeach()
  string(APPEND body "  };\n  return texts;\n}\n")
  file(CONFIGURE OUTPUT ${output} CONTENT "${body}" @ONLY)
endfunction()
